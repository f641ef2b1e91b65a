"""What test_distributed.py runs on several processes: checks by name, each against one process with the whole batch."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from helpers import refuses

import minigrad as mg
from minigrad import distributed as dist
from minigrad import nn
from minigrad.kernels.nccl import Nccl

DTYPE = np.float64
#: batches of 16, 16 and 15: parts of unequal sizes, and some ranks get another size last, some the same
EXAMPLES, BATCH, STEPS = 47, 16, 20


def mlp():
    def layer(m, n):
        return [nn.Linear(m, n, bias=False, dtype=DTYPE), nn.BatchNorm(n, dtype=DTYPE)]

    return nn.Sequential(
        *layer(12, 10), nn.Sigmoid(), *layer(10, 10), nn.Sigmoid(), nn.Linear(10, 4, dtype=DTYPE)
    )


def cnn():
    convs = [nn.Conv2d(m, n, 3, bias=False, padding=1, dtype=DTYPE) for m, n in [(1, 4), (4, 6)]]
    norms = [nn.BatchNorm(4, dtype=DTYPE), dist.SyncBatchNorm(6, dtype=DTYPE)]
    pairs = zip(convs, norms, strict=True)
    body = [layer for conv, norm in pairs for layer in (conv, norm, nn.ReLU())]
    return nn.Sequential(*body, nn.GlobalAvgPool2d(), nn.Linear(6, 4, dtype=DTYPE))


MODELS = {"mlp": (mlp, (12,)), "cnn": (cnn, (1, 4, 4))}
OPTIMIZERS = {
    "sgd": lambda params: mg.optim.SGD(params, lr=0.1, momentum=0.9),
    "adam": lambda params: mg.optim.Adam(params, lr=0.01),
}


class Training:
    """A model that is trained, by one process or by all, eager or captured."""

    def __init__(self, kind, optimizer, together, captured=False):
        make, shape = MODELS[kind]
        mg.manual_seed(0)
        self.model, self.together = make(), together
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        rng = np.random.default_rng(1)
        arrays = [3 + rng.standard_normal((EXAMPLES, *shape)), rng.integers(0, 4, EXAMPLES)]
        own = np.random.default_rng(2 + (together and dist.rank()))  # only rank 0's counts
        self.loader = mg.data.DataLoader(arrays, BATCH, rng=own, shard=dist if together else None)
        self.step = mg.jit(self.descend) if captured else self.descend

    def descend(self, x, labels):
        self.optimizer.zero_grad()
        if self.together:
            with dist.synchronized(self.model):
                loss = mg.softmax_cross_entropy(self.model(x), labels)
            loss = dist.mean(loss, len(x))
        else:
            loss = mg.softmax_cross_entropy(self.model(x), labels)
        loss.backward()
        if self.together:
            dist.average_gradients(self.model)
        self.optimizer.step()
        return loss

    def run(self, steps=STEPS):
        losses = []
        while len(losses) < steps:
            for batch in self.loader:
                losses.append(self.step(*batch).item())
        return np.array(losses[:steps])

    def state(self):
        return self.model.state_dict() | self.optimizer.state_dict()


def alone(*args):
    """The same by one process, with whole batches: no rank depends on another here."""
    init, dist.init = dist.init, dist.Alone
    try:
        training = Training(*args, together=False)
        return training.run(), training.state()
    finally:
        dist.init = init


def require_close(found, expected, size=None, tolerance=1e-12):
    """Up to the tolerance, of the largest number that is a weight, not a count, or of ``size``."""
    weights = [a for n, a in expected.items() if a.dtype == DTYPE and n not in ("steps", "lr")]
    size = size or max(np.abs(a).max() for a in weights)
    for name, array in expected.items():
        error = np.abs(found[name] - array).max() / size
        assert error <= tolerance, f"{name} differs by {error:.1e}"
        WORST[0] = max(WORST[0], error)


def require_same_bits(state, other=None):
    """As another state, or as rank 0's."""
    other = other or dist.init().broadcast(state)
    for name, array in state.items():
        assert array.tobytes() == other[name].tobytes(), f"the bits of {name} differ"


WORST = [0.0]


def training(kind, optimizer, captured):
    losses, expected = alone(kind, optimizer)
    together = Training(kind, optimizer, True, captured)
    found = together.run()
    require_same_bits(together.state())
    require_close(together.state() | {"loss": found}, expected | {"loss": losses})
    if captured:
        eager = Training(kind, optimizer, True)
        assert eager.run().tobytes() == found.tobytes()
        assert len(together.step.graphs) == len({len(x) for x, _ in together.loader})
        require_same_bits(together.state(), eager.state())


def higher_orders():
    """Outputs, and three orders of gradients, through the merged statistics of parts of different sizes."""
    rng, sizes = np.random.default_rng(0), {2: (5, 9), 3: (5, 3, 6), 4: (5, 3, 2, 4)}
    ends = np.cumsum([0, *sizes[dist.size()]])
    x, u = rng.standard_normal((2, 14, 3))
    weight = rng.uniform(0, 2, 14)
    weight[:5] = 0  # nothing of rank 0 counts
    own = slice(*ends[dist.rank() : dist.rank() + 2])
    for weights in (None, weight):

        def orders(x, u, weight, synchronized):
            bn = nn.BatchNorm(3, dtype=DTYPE)
            x, u = (mg.tensor(a, requires_grad=True) for a in (x, u))
            with dist.synchronized(bn) if synchronized else mg.nn.hold_statistics(nn.ReLU()):
                y = bn(x, weight=weight)
            g = mg.grad((y * u).sum(), x, create_graph=True)
            h = mg.grad((g * g).sum(), [x, u, bn.gamma], create_graph=True)
            third = mg.grad((h[0] * h[0]).sum() + (h[1] ** 3).sum(), x)
            gamma = dist.all_reduce(h[2]) if synchronized else h[2]
            return [y, g, *h[:2], third], [gamma, bn.running_mean, bn.running_var]

        parts, shared = orders(x[own], u[own], None if weights is None else weights[own], True)
        expected, whole = orders(x, u, weights, False)
        expected, whole = ([t.numpy() for t in ts] for ts in (expected, whole))
        pairs = [(a, b[own], b) for a, b in zip(parts, expected, strict=True)]
        pairs += [(a, b, b) for a, b in zip(shared, whole, strict=True)]
        for i, (a, b, all_of_it) in enumerate(pairs):
            require_close({str(i): a.numpy()}, {str(i): b}, np.abs(all_of_it).max())
        require_same_bits({str(i): t.numpy() for i, t in enumerate(shared)})


def collectives():
    """Sums of small and large tensors; the fused op against its reference, with gradients; means."""
    r, n = dist.rank(), dist.size()
    for size in (0, 1, 5, 3001):
        for dtype in (np.float32, np.float64, np.float16):
            rows = np.random.default_rng(size).standard_normal((n, size)).astype(dtype)
            x = mg.tensor(rows[r], requires_grad=True)
            y = dist.all_reduce(x)
            expected = np.add.reduce(rows, dtype=np.promote_types(dtype, np.float32)).astype(dtype)
            assert y.numpy().tobytes() == expected.tobytes(), (size, dtype)
            g = mg.grad((y * y).sum(), x)
            assert g.numpy().tobytes() == dist.all_reduce(2 * y).numpy().tobytes()
    rng = np.random.default_rng(r)
    arrays = [np.array(3.0 + r), *rng.standard_normal((2, 4))]
    leaves = [mg.tensor(a, requires_grad=True) for a in arrays]

    def orders(ys):
        loss = (ys[1] ** 3).sum() + (ys[2] ** 2).sum() * (1 + r)
        gs = mg.grad(loss, leaves[1:], create_graph=True)
        return [*ys, *gs, *mg.grad(gs, leaves[1:], [g.detach() for g in gs])]

    op = dist.MergeMoments()
    pairs = zip(orders(mg.Tensor.apply(op, *leaves)), orders(op.reference(*leaves)), strict=True)
    for i, (a, b) in enumerate(pairs):
        require_close({str(i): a.numpy()}, {str(i): b.numpy()})
    mean = dist.mean(mg.tensor(float(r)), count=r + 1).item()
    assert abs(mean - np.average(range(n), weights=np.arange(n) + 1)) < 1e-6


class Pointer(np.ndarray):
    """Stands in for an array of CuPy: its address is the array."""

    data = property(lambda self: SimpleNamespace(ptr=self))


class StandIn(Nccl):
    """NCCL's communicator, with a stand-in of CuPy whose NCCL sends over MPI."""

    def __init__(self):
        host = dist.init()

        def gather(x, out, count, dtype, stream):
            assert (count, dtype, stream) == (x.size, str(x.dtype), 7)
            out[...] = host.all_gather(np.asarray(x), "")

        def reduce(x, out, count, dtype, add, stream):
            assert (count, dtype, add, stream) == (x.size, str(x.dtype), "+", 7)
            out[...] = host.all_reduce(np.asarray(x), "")

        def channel(size, token, rank):
            assert (size, token, rank) == (host.size, (5,), host.rank)
            return SimpleNamespace(allGather=gather, allReduce=reduce)

        names = {"NCCL_FLOAT32": "float32", "NCCL_FLOAT64": "float64", "NCCL_SUM": "+"}
        nccl = SimpleNamespace(get_unique_id=lambda: (5,), NcclCommunicator=channel, **names)
        stream = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=7), nccl=nccl)
        arrays = {
            "ascontiguousarray": lambda x: np.ascontiguousarray(x).view(Pointer),
            "empty": lambda *how: np.empty(*how).view(Pointer),
        }
        super().__init__(host, SimpleNamespace(cuda=stream, **arrays))

    def _send(self, *args):
        return np.asarray(super()._send(*args))


def nccl():
    """The same training, by NCCL's collectives."""
    over_mpi = Training("cnn", "sgd", True)
    over_mpi.run()
    communicator, stand_in = dist.communicator, StandIn()
    dist.communicator = lambda kind: stand_in
    try:
        over_nccl = Training("cnn", "sgd", True)
        over_nccl.run()
    finally:
        dist.communicator = communicator
    require_same_bits(over_nccl.state(), over_mpi.state())


def helpers():
    """Seeds, states and checkpoints; a checkpoint of one process goes on with several."""
    dist.manual_seed(5)
    drawn = dist.init().all_gather(mg.rand(8).numpy(), "")
    assert len({row.tobytes() for row in drawn}) == dist.size()
    dist.manual_seed(5)
    assert drawn[dist.rank()].tobytes() == mg.rand(8).numpy().tobytes()
    model = mlp()  # of other weights on each rank
    optimizer = mg.optim.SGD(model.parameters(), lr=1.0 + dist.rank(), momentum=0.9)
    dist.broadcast(model, optimizer)
    require_same_bits(model.state_dict())
    assert optimizer.lr == 1
    loader = mg.data.DataLoader([np.arange(11)], 6, shuffle=False, shard=dist)
    parts = [np.array_split(batch, dist.size()) for batch in (np.arange(6), np.arange(6, 11))]
    assert [x.tolist() for (x,) in loader] == [part[dist.rank()].tolist() for part in parts]
    path = Path(dist.init().broadcast(tempfile.mkdtemp())) / "state.safetensors"
    _, expected = alone("mlp", "adam")
    start = Training("mlp", "adam", together=False)
    start.run(EXAMPLES // BATCH + 1)
    dist.save(path, start.state())
    again = Training("mlp", "adam", together=True)
    state = mg.load(path)
    for owner in (again.model, again.optimizer):
        owner.load_state_dict({name: state[name] for name in owner.state_dict()})
    for _ in again.loader:  # the epoch that is over
        pass
    again.run(STEPS - EXAMPLES // BATCH - 1)
    require_close(again.state(), expected)


def refusals():
    """What is wrong on one rank is an error on all, or on this one before anything is sent."""
    bn = nn.BatchNorm(3)

    def step(x):
        with dist.synchronized(bn):
            return bn(x)

    before, x = bn.state_dict(), mg.ones((4, 3)) * (np.nan if dist.rank() == 1 else 1)
    for function in (step, mg.jit(step)):
        with refuses(ValueError, "NaN or Inf"):
            function(x)
        require_same_bits(bn.state_dict(), before)
    with dist.synchronized(bn), refuses(ValueError, "merged already"):
        nn.micro_batch_backward(bn, lambda x: bn(x).sum(), [(mg.ones((4, 3)),)])
    with nn.merging_statistics(lambda layer, own: own), refuses(ValueError, "merging_statistics"):
        step(x)
    with refuses(ValueError, "the last batch has 1 examples"):
        mg.data.DataLoader([np.arange(5)], 4, shard=dist)


CHECKS = {
    f"{kind}, {optimizer}{', captured' * captured}": (training, kind, optimizer, captured)
    for kind in MODELS
    for optimizer in OPTIMIZERS
    for captured in (False, True)
} | {check.__name__: (check,) for check in (higher_orders, collectives, nccl, helpers, refusals)}


def fault(what):
    """Rank 1 does something else than the others, which wait for it."""
    model = mlp()
    if dist.rank() == 1:
        if what == "raises":
            raise ValueError("this part has no labels")
        if what == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exits":
            sys.exit(3)
        if what == "has another model":
            model = cnn()
    dist.broadcast(model)
    for p in model.parameters():
        p.grad = p * 0
    if what == "has other gradients" and dist.rank() == 1:
        model.parameters()[0].grad = None
    if what == "has other features" and dist.rank() == 1:
        dist.SyncBatchNorm(5)(mg.ones((4, 5)))
    dist.average_gradients(model)


if __name__ == "__main__":
    if sys.argv[1:]:
        fault(sys.argv[1])
        sys.exit()
    for name, (check, *args) in CHECKS.items():
        WORST[0] = 0
        check(*args)
        if dist.rank() == 0:
            print(f"passed: {name} ({WORST[0]:.1e})", flush=True)
