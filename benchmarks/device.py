"""A GPU, with minigrad and PyTorch on it in turns, in one process: there they share neither threads nor memory pools.

Times are the device's own: an event is put into the stream before some steps and another after them, and the host waits
for the second one only. So a step that the host cannot launch fast enough takes as long as its launches, as it does in
training, and what is launched ahead overlaps. Both libraries work on the stream that is theirs by default; what a step
does on others must have been waited for by this one. Float32 is float32: TF32 is off for both.
"""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

from minigrad import backend

from .agreement import Clock, Peer
from .harness import Start, package
from .workloads.gpu import GPU


@dataclass(frozen=True)
class Device:
    """Where the arrays of all peers are, and who takes the time there."""

    name: str
    #: minigrad's name for it, and PyTorch's
    backend: str
    torch: str
    #: by the package of a peer; None is minigrad's
    clocks: Mapping[str | None, Clock]
    #: what a result must say of it
    facts: Mapping[str, Any]
    #: give back memory that libraries keep for later
    release: Callable[[], None]

    @contextmanager
    def peers(self) -> Iterator[Start]:
        """Starts peers by workload and name, in this process; those of a workload get the same inputs."""
        before = backend.default().name
        inputs = cache(lambda workload: GPU[workload].build())

        def start(workload: str, name: str) -> Peer:
            library = package(name)
            with self._torch() if library == "torch" else nullcontext():
                peer = GPU[workload].makers[name](inputs(workload))
            # Outside of the context, for PyTorch's compiler would compile again without it.
            peer.repeat(peer.warmup)
            return peer._replace(clock=self.clocks[library])

        backend.set_backend(self.backend)
        try:
            yield start
        finally:
            backend.set_backend(before)
            gc.collect()
            self.release()

    def _torch(self) -> Any:
        # While peers are made, not longer: it slows down every call of PyTorch's.
        import torch

        return torch.device(self.torch)


def events(event: Callable[[], Any], milliseconds: Callable[[Any, Any], float]) -> Clock:
    """The clock of a device, by a library's events and what lies between two of them."""

    def clock(work: Callable[[], None]) -> float:
        start, stop = event(), event()
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return milliseconds(start, stop) / 1e3

    return clock


def find() -> Device:
    """The GPU that CuPy finds here.

    Raises
    ------
    ImportError, RuntimeError
        If there is none, or none for CuPy or PyTorch.
    """
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # libraries read it when they load
    cupy = backend.get("cupy").xp
    runtime, pool = cupy.cuda.runtime, cupy.get_default_memory_pool()
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    name = properties["name"].decode()
    facts: dict[str, Any] = {
        "device": name,
        "CuPy": cupy.__version__,
        "capability": f"{properties['major']}.{properties['minor']}",
        "driver": _says("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "CUDA": f"runtime {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}",
        "commit": _says("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
        "TF32": {"NVIDIA_TF32_OVERRIDE": os.environ["NVIDIA_TF32_OVERRIDE"]},
    }
    clocks: dict[str | None, Clock] = {None: events(cupy.cuda.Event, cupy.cuda.get_elapsed_time)}
    releases = [pool.free_all_blocks]
    if find_spec("torch") is not None:
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(f"PyTorch {torch.__version__} finds no GPU: it needs a CUDA build")
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        matmul.allow_tf32 = cudnn.allow_tf32 = False
        cudnn.benchmark = True  # the fastest of its algorithms, as one has it for training
        facts["torch CUDA"] = f"{torch.version.cuda}, cuDNN {cudnn.version()}, cudnn.benchmark on"
        facts["TF32"]["torch.backends.cuda.matmul.allow_tf32"] = matmul.allow_tf32
        facts["TF32"]["torch.backends.cudnn.allow_tf32"] = cudnn.allow_tf32
        timed = partial(torch.cuda.Event, enable_timing=True)
        clocks["torch"] = events(timed, torch.cuda.Event.elapsed_time)
        releases.append(torch.cuda.empty_cache)

    def release() -> None:
        for give_back in releases:
            give_back()

    return Device(name, "cupy", "cuda", clocks, facts, release)


def _says(*command: str) -> str:
    """The first line that a program answers, if it is there and answers."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.partition("\n")[0]
