"""Kernels for CuPy arrays: our own, in CUDA C++ (``cuda/``), where they do better than array code."""

from __future__ import annotations

from typing import Any

from .cuda import OPTIONS, THREADS, Kernel, Launcher, Parameter, source
from .cuda.batch_norm import BatchNormKernels
from .cuda.windows import WindowKernels
from .generic import Kernels


class CupyLauncher:
    """Compiles kernels by NVRTC and runs them on CuPy's current device and stream; CuPy keeps the binaries on disk."""

    def __init__(self, cupy: Any) -> None:
        self.cupy = cupy
        self._functions: dict[tuple[Kernel, tuple[Parameter, ...]], Any] = {}

    @property
    def multiprocessors(self) -> int:
        count: int = self.cupy.cuda.Device().attributes["MultiProcessorCount"]
        return count

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


class CupyKernels(BatchNormKernels, WindowKernels, Kernels):
    """The GPU kernels; ``launch`` runs them."""

    def __init__(self, xp: Any, launch: Launcher | None = None) -> None:
        super().__init__(xp)
        self.launch: Launcher = launch or CupyLauncher(xp)
