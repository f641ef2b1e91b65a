"""Kernels for CuPy arrays: our own, in CUDA C++ (``cuda/``), where they do better than array code."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from sys import getrefcount
from types import ModuleType
from typing import Any

import numpy as np

from .cuda import OPTIONS, THREADS, Kernel, Launcher, NotRecorded, Parameter, source
from .cuda.batch_norm import BatchNormKernels
from .cuda.elementwise import ElementwiseKernels
from .cuda.faults import Faults
from .cuda.loss import LossKernels
from .cuda.updates import UpdateKernels
from .cuda.windows import WindowKernels
from .cudnn import CudnnConvolution


class CupyLauncher:
    """Compiles kernels by NVRTC and runs them on CuPy's current device and stream; CuPy keeps the binaries on disk."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self._multiprocessors: dict[int, int] = {}
        self._functions: dict[tuple[Kernel, tuple[Parameter, ...]], Any] = {}

    @property
    def multiprocessors(self) -> int:
        device = self.device
        if device not in self._multiprocessors:
            runtime = self.cupy.cuda.runtime
            kind = runtime.cudaDevAttrMultiProcessorCount
            self._multiprocessors[device] = runtime.deviceGetAttribute(kind, device)
        return self._multiprocessors[device]

    @property
    def device(self) -> int:
        number: int = self.cupy.cuda.runtime.getDevice()
        return number

    def on(self, device: int) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self.cupy.cuda.Device(device)
        return context

    def __call__(
        self,
        kernel: Kernel,
        parameters: tuple[Parameter, ...],
        grid: tuple[int, ...],
        args: tuple[Any, ...],
    ) -> None:
        function = self._functions.get((kernel, parameters))
        if function is None:
            name = kernel.instance(parameters)
            module = self.cupy.RawModule(
                code=source(kernel.file), options=OPTIONS, name_expressions=(name,)
            )
            function = self._functions[kernel, parameters] = module.get_function(name)
        function(grid, (THREADS,), args)

    def address(self, array: Any) -> int:
        first: int = array.data.ptr
        return first

    def holders(self, array: Any) -> int:
        # Views have the array's pointer to memory, or a pointer of their own to the same memory; not all have a base.
        pointer = array.data
        return getrefcount(array) + getrefcount(pointer) + getrefcount(pointer.mem)

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        cuda = self.cupy.cuda
        # Memory of its own, which nobody else is given while the recording lives.
        stream, pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        with stream, cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            try:
                result = work()
                graph = stream.end_capture()
            except Exception as error:
                with suppress(cuda.runtime.CUDARuntimeError):
                    stream.end_capture()
                if isinstance(error, ValueError):  # what was wrong with values, told late
                    raise
                # It has just run: what fails does so because it is recorded.
                raise NotRecorded(str(error)) from error

        def replay(pool: Any = pool) -> None:
            graph.launch()

        return result, replay

    def shared(self, words: int) -> tuple[np.ndarray, int]:
        # Page-locked memory has one address for the host and all devices (unified virtual addressing).
        memory = self.cupy.cuda.alloc_pinned_memory(8 * words)
        numbers = np.frombuffer(memory, np.int64, words)
        numbers[:] = 0
        return numbers, memory.ptr


class CupyKernels(
    CudnnConvolution,
    WindowKernels,
    BatchNormKernels,
    ElementwiseKernels,
    LossKernels,
    UpdateKernels,
):
    """The GPU kernels: ``launch`` runs our own, and convolutions are ``cudnn``'s where it is not None."""

    def __init__(self, xp: Any, launch: Launcher, cudnn: ModuleType | None = None) -> None:
        super().__init__(xp)
        self.launch, self.cudnn = launch, cudnn
        self.faults = Faults(xp, self.launch)

    def check(self) -> None:
        self.faults.check()
