"""Data-parallel training: several processes that each compute a part of every batch, over MPI and NCCL.

All run the same program, started by ``mpiexec -n 4 python train.py``; by itself it is one process::

    from minigrad import distributed as dist

    dist.broadcast(model)  # all start from rank 0's parameters
    for x, labels in mg.data.DataLoader(arrays, batch_size, shard=dist):  # this process's part of each batch
        with dist.synchronized(model):  # batch norm by the statistics of the whole batch
            loss = mg.softmax_cross_entropy(model(x), labels)
        optimizer.zero_grad()
        dist.mean(loss, len(x)).backward()
        dist.average_gradients(model)
        optimizer.step()
    dist.save("model.safetensors", model.state_dict())

That trains as one process does with whole batches, up to rounding, and all processes have the same bits. Each has to
call the same in the same order, with tensors of the same shapes; one that does not, or fails, ends all of them.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import zlib
from dataclasses import replace
from functools import cache, partial
from itertools import accumulate
from typing import Any

import numpy as np

from . import bn, checkpoint
from .bn.moments import Moments
from .contexts import Override
from .creation import zeros
from .kernels.nccl import Nccl
from .nn.batch_norm import BatchNorm, hooks
from .nn.module import Module
from .op import Op
from .ops import random
from .optim.optimizers import listed
from .tape import no_grad
from .tensor import Tensor, apply

#: set by mpiexec and srun
LAUNCHED = {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"}
#: bytes of all small messages, 8 of them for what all agree on: of one size, so that what does not match still arrives
SLOT = 4096


class Alone:
    """Communicator of one process, and the interface of all. Sums are in the order of ranks, the same bits on all."""

    rank, size = 0, 1

    def agree(self, what: str) -> None:
        """Raise RuntimeError on all processes unless all come with the same text, as all collectives do."""
        self.all_gather(np.empty(0), what)

    def all_gather(self, x: Any, what: str) -> Any:
        """The arrays of all processes along a new first axis."""
        return x[None].copy()

    def all_reduce(self, x: Any, what: str) -> Any:
        """The sum of all processes' arrays, of one axis."""
        return x.copy()

    def broadcast(self, value: Any, what: str = "broadcast") -> Any:
        """The object of rank 0."""
        return value


class Mpi(Alone):
    """Communicator over MPI, for NumPy arrays."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    def all_gather(self, x: Any, what: str) -> Any:
        slot, slots = np.zeros(SLOT, np.uint8), np.empty((self.size, SLOT), np.uint8)
        slot[:4] = np.array([zlib.crc32(what.encode())], np.uint32).view(np.uint8)
        if small := x.nbytes <= SLOT - 8:
            slot[8 : 8 + x.nbytes] = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
        self.comm.Allgather(slot, slots)
        if (slots[:, :4] != slot[:4]).any():
            texts = reversed([*enumerate(self.comm.allgather(what[:200]))])
            places = sorted((r, text) for text, r in {text: r for r, text in texts}.items())
            raise RuntimeError(
                f"the processes do not do the same: {'; '.join(f'rank {r} is at {t}' for r, t in places)}"
            )
        if small:
            return slots[:, 8 : 8 + x.nbytes].copy().view(x.dtype).reshape(self.size, *x.shape)
        found = np.empty((self.size, *x.shape), x.dtype)
        self.comm.Allgather(np.ascontiguousarray(x), found)
        return found

    def all_reduce(self, x: Any, what: str) -> Any:
        if x.nbytes <= SLOT - 8:
            return self.all_gather(x, what).sum(axis=0, dtype=x.dtype)
        self.agree(what)
        # Each process adds up one share: no MPI has to promise that all get the same bits.
        padded = np.resize(x, (self.size, -(-x.size // self.size)))
        parts = np.empty_like(padded)
        self.comm.Alltoall(padded, parts)
        self.comm.Allgather(parts.sum(axis=0), padded)
        return padded.reshape(-1)[: x.size]

    def broadcast(self, value: Any, what: str = "broadcast") -> Any:
        self.agree(what)
        return self.comm.bcast(value if self.rank == 0 else None)

    def end(self, kind: Any, error: Any, trace: Any = None) -> None:
        """Print an exception that ends this process, and end all others."""
        sys.__excepthook__(kind, error, trace)
        print(f"rank {self.rank} ends all: {kind.__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(0.3)  # mpiexec drops what it has not read by then
        self.comm.Abort(1)

    def leave(self) -> None:
        """Wait for the others to end; if one still waits for this process, end all."""
        try:
            self.agree("the end of the program")
        except RuntimeError as error:
            self.end(type(error), error)


@cache
def init() -> Any:
    """Join the processes that ``mpiexec`` started, if nothing here has yet; errors on one end all from then on."""
    if not os.environ.keys() & LAUNCHED:
        return Alone()
    if int(os.environ.get("MPI_LOCALNRANKS", 0)) > (os.cpu_count() or 1):  # MPICH would wait busily
        os.environ.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError('mpiexec needs mpi4py: pip install "minigrad-bn[mpi]"') from error
    host = Mpi(MPI.COMM_WORLD)
    if host.size > 1:
        sys.excepthook = host.end
        atexit.register(host.leave)
    return host


def rank() -> int:
    """The number of this process, from 0 on."""
    return init().rank


def size() -> int:
    """The number of processes."""
    return init().size


@cache
def communicator(array: Any) -> Any:
    """The communicator for arrays of a type."""
    if issubclass(array, np.ndarray) or size() == 1:
        return init()
    import cupy  # type: ignore[import-not-found,unused-ignore]

    return Nccl(init(), cupy)


class AllReduce(Op):
    """Sums over all processes, divided by a number, of several tensors in one message. It is its own transpose."""

    saves_inputs = False
    __slots__ = ("divisor", "num_outputs")

    def __init__(self, count: int, divisor: int = 1) -> None:
        self.num_outputs, self.divisor = count, divisor  # type: ignore[misc]

    def forward(self, k: Any, *xs: Any) -> Any:
        flat = k.xp.concatenate([x.reshape(-1) for x in xs])
        what = f"all_reduce {flat.dtype} {[x.shape for x in xs]}"
        flat = communicator(flat.__class__).all_reduce(flat, what)
        if self.divisor > 1:
            flat /= self.divisor
        ends = accumulate(x.size for x in xs)
        return tuple([flat[n - x.size : n].reshape(x.shape) for n, x in zip(ends, xs, strict=True)])

    def backward(self, node: Any, needs: Any, *gys: Any) -> Any:
        like = next(g for g in gys if g is not None)
        zero = partial(zeros, dtype=like.dtype, backend=like.backend)
        return apply(self, *(zero(n) if g is None else g for g, n in zip(gys, node.shapes)))  # noqa: B905


class MergeMoments(Op):
    """Count, mean and M2 of the batch from those of all parts, in one message (Chan et al. 1979; ``bn.moments``)."""

    num_outputs = 3
    saves_inputs = slice(0, 2)
    saves_outputs = (0, 1)

    def reference(self, count: Tensor, mean: Tensor, m2: Tensor) -> Any:
        total, weighted = all_reduce(count, count * mean)
        whole = weighted / total
        return total, whole, all_reduce(m2 + count * (mean - whole) ** 2)

    def forward(self, k: Any, count: Any, mean: Any, m2: Any) -> Any:
        flat = k.xp.concatenate([count.reshape(-1), mean.reshape(-1), m2.reshape(-1)])
        what = f"the statistics of a batch norm, {flat.dtype} {mean.shape}"
        rows, n = communicator(flat.__class__).all_gather(flat, what), 1 + mean.size
        counts, means = rows[:, :1], rows[:, 1:n]
        with np.errstate(all="ignore"):  # what is not finite is refused where it is used
            total = counts.sum(axis=0)
            whole = means[0] + (counts / total * (means - means[0])).sum(axis=0)
            squares = (rows[:, n:] + counts * (means - whole) ** 2).sum(axis=0)
        return total.reshape(()), whole.reshape(mean.shape), squares.reshape(mean.shape)

    def backward(self, node: Any, needs: Any, gcount: Any, gmean: Any, gm2: Any) -> Any:
        (count, mean), (total, whole) = node.inputs, node.outputs
        gmean, gm2 = all_reduce(*(whole.filled(0) if g is None else g for g in (gmean, gm2)))
        return None, gmean * (count / total) + gm2 * (2 * count * (mean - whole)), gm2


def all_reduce(*tensors: Tensor) -> Any:
    """Sum over all processes, of a tensor or of several of one dtype. Its gradient sums what all compute from it."""
    if len({t.dtype for t in tensors}) != 1:
        raise TypeError(f"all_reduce: expected one dtype, got {[str(t.dtype) for t in tensors]}")
    found = apply(AllReduce(len(tensors)), *(t.widened() for t in tensors))
    sums = tuple(s.astype(t.dtype) for s, t in zip(found, tensors, strict=True))
    return sums if len(tensors) > 1 else sums[0]


def mean(x: Tensor, count: float = 1) -> Tensor:
    """Mean over all processes, weighted by ``count``: from the mean losses of parts of any sizes, the whole batch's."""
    total, counts = all_reduce(x.widened() * count, x.widened().lift(float(count), "mean"))
    return total / counts


def average_gradients(model: Any) -> None:
    """Average gradients over all processes, of a model or a list of Tensors, after ``backward`` and before clipping."""
    params = model.parameters() if isinstance(model, Module) else listed("average_gradients", model)
    found = [(p, g.widened()) for p in params if (g := p.grad) is not None]
    with no_grad():
        for dtype in dict.fromkeys(g.dtype for _, g in found if size() > 1):
            ps, gs = zip(*[(p, g) for p, g in found if g.dtype == dtype], strict=True)
            for p, g in zip(ps, apply(AllReduce(len(gs), size()), *gs), strict=True):
                p.grad = g.astype(p.dtype)


class Merging(frozenset[Any]):
    """Merges the moments of its layers over all processes. Equal ones are the same setting to a captured graph."""

    def __call__(self, layer: Any, own: Moments) -> Moments:
        if layer not in self:
            return own
        return Moments(*apply(MergeMoments(), own.count, own.mean, own.m2))


def synchronized(model: Module) -> Override:
    """Normalize by the statistics of the whole batch in training, in every batch norm of ``model``.

    Counts, means and squared deviations of parts of any sizes, with weights and masks, are merged over all processes
    before they normalize and enter the running statistics, and gradients flow through them to all processes. A context
    manager, and a decorator of a training step. ValueError inside of ``merging_statistics``.
    """
    layers = {m for m in model.modules() if isinstance(m, BatchNorm)}

    def merging(outer: bn.Hooks | None) -> bn.Hooks | None:
        before = outer or bn.Hooks()
        if not isinstance(before.merge, (Merging, type(None))):
            raise ValueError("synchronized: merging_statistics has merged the statistics already")
        both = Merging(layers.union(before.merge or ()))
        return outer if size() == 1 else replace(before, merge=both)

    return Override(hooks.variable, merging)


class SyncBatchNorm(BatchNorm):
    """A ``BatchNorm`` that is always ``synchronized``."""

    def forward(self, x: Tensor, mask: Any = None, weight: Any = None) -> Tensor:
        with synchronized(self):
            return bn.forward(self, x, mask, weight)


def broadcast(*owners: Any) -> None:
    """Load rank 0's state on all processes, into models and optimizers: what has a ``state_dict``."""
    for owner in owners:
        state = owner.state_dict()
        what = f"broadcast {[(n, a.shape, str(a.dtype)) for n, a in state.items()]}"
        owner.load_state_dict(init().broadcast(state, what))


def save(path: str | os.PathLike[str], state: Any) -> None:
    """``minigrad.save`` on rank 0; the others wait for it, and may load the file then."""
    if rank() == 0:
        checkpoint.save(path, state)
    init().agree("save")


def manual_seed(seed: int) -> None:
    """``minigrad.manual_seed`` by seed and rank: dropout has other masks on each process, the same in each run."""
    random.manual_seed((seed, rank()))  # type: ignore[arg-type]
