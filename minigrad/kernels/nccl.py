"""The communicator of ``minigrad.distributed`` over NCCL, for CuPy arrays: one GPU for each process."""

from __future__ import annotations

from typing import Any


class Nccl:
    """NCCL's collectives, on the current stream; what ``host``, the communicator over MPI, says goes that way."""

    def __init__(self, host: Any, cupy: Any) -> None:
        self.cupy, self.nccl, self.agree = cupy, cupy.cuda.nccl, host.agree
        self.rank, self.size = host.rank, host.size
        token = host.broadcast(self.nccl.get_unique_id() if self.rank == 0 else None)
        self.channel = self.nccl.NcclCommunicator(self.size, token, self.rank)

    def all_gather(self, x: Any, what: str) -> Any:
        """The arrays of all processes along a new first axis."""
        self.agree(what)
        return self._send(self.channel.allGather, x, (self.size, *x.shape))

    def all_reduce(self, x: Any, what: str) -> Any:
        """The sum of all processes' arrays."""
        self.agree(what)
        return self._send(self.channel.allReduce, x, x.shape, self.nccl.NCCL_SUM)

    def _send(self, collective: Any, x: Any, shape: tuple[int, ...], *how: int) -> Any:
        x, found = self.cupy.ascontiguousarray(x), self.cupy.empty(shape, x.dtype)
        dtype = getattr(self.nccl, f"NCCL_{x.dtype.name.upper()}")
        stream = self.cupy.cuda.get_current_stream().ptr
        collective(x.data.ptr, found.data.ptr, x.size, dtype, *how, stream)
        return found
