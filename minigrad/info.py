"""``python -m minigrad.info``: print the detected hardware and libraries, their speed, and advice."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from timeit import repeat
from typing import Any

import numpy as np

from . import backend
from .command import command
from .kernels.numba import NumbaKernels
from .kernels.threads import get_num_threads

#: kernels of OpenBLAS that use 256-bit vectors where the processor has 512-bit ones
NARROW = {"Haswell", "Zen", "Sandybridge", "Nehalem"}
VARIABLES = ("MINIGRAD_KERNELS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE")


def installed(package: str) -> str:
    """The version of a package, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def openblas() -> tuple[str, int] | None:
    """Kernels and threads of NumPy's OpenBLAS; None for another BLAS or without threadpoolctl."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    found = [i for i in threadpool_info() if "numpy" in i["filepath"] and "architecture" in i]
    return (found[0]["architecture"], found[0]["num_threads"]) if found else None


def describe() -> dict[str, str]:
    """The hardware, libraries and settings, by name."""
    config: Any = np.show_config(mode="dicts")
    blas, found = config["Build Dependencies"]["blas"], openblas()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": f"{_processor()}, {cores} of {os.cpu_count()} cores usable",
        "vectors": " ".join(config.get("SIMD Extensions", {}).get("found", [])) or "unknown",
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "BLAS": f"{blas.get('name')} {blas.get('version')}"
        + (f", {found[0]} kernels, {found[1]} threads" if found else ""),
        "Numba": installed("numba"),
        "kernels": f"{type(backend.get('numpy').kernels).__name__}, {_threads()}",
        "kernel cache": _cache(),
        "CuPy": _devices(),
        "environment": ", ".join(f"{name} {os.environ.get(name, 'not set')}" for name in VARIABLES),
    }


def _threads() -> str:
    count = f"{get_num_threads()} threads"
    if not isinstance(backend.get("numpy").kernels, NumbaKernels):
        return count
    from .kernels.compiled.launch import WAITING

    return f"{count} that {WAITING}"


def _cache() -> str:
    if not isinstance(backend.get("numpy").kernels, NumbaKernels):
        return "none: nothing is compiled"
    from .kernels.compiled.cache import FOLDER

    if FOLDER is None:
        return "none: each process compiles its kernels"
    kept = sum(path.stat().st_size for path in FOLDER.glob("*"))
    return f"{FOLDER}, {kept / 1e6:.1f} MB"


def advice() -> Iterator[str]:
    """Settings and packages that would help on this machine."""
    found, vectors = openblas(), describe()["vectors"]
    if found and found[0] in NARROW and "AVX512" in vectors:
        yield (
            f"OpenBLAS runs its {found[0]} kernels, with 256-bit vectors, on a processor that has 512-bit ones: for "
            "NumPy's own products, and MINIGRAD_KERNELS=numpy, try OPENBLAS_CORETYPE=SkylakeX"
        )
    if installed("numba") == "not installed":
        yield "Numba is not installed: with it batch norm, activations and convolutions are several times as fast"


def measure() -> dict[str, str]:
    """Measure float32 matrix products and memory copies: the best of five each."""
    kernels = backend.get("numpy").kernels
    a, b = np.ones((2, 1024, 1024), np.float32)
    x, y = np.ones((2, 2**24), np.float32)
    flops = 2 * 1024**3 / min(repeat(lambda: kernels.matmul(a, b), number=1))
    read_and_written = 2 * x.nbytes / min(repeat(lambda: np.copyto(y, x), number=1))
    return {
        "matrix products": f"{flops / 1e9:.0f} GFLOP/s (1024 x 1024 x 1024, float32)",
        "copies": f"{read_and_written / 1e9:.0f} GB/s read and written (64 MB, one thread)",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.partition(":")[2].strip() for line in info if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def _devices() -> str:
    try:
        cupy = backend.get("cupy").xp
    except (ImportError, RuntimeError) as error:
        return str(error)
    count = cupy.cuda.runtime.getDeviceCount()
    names = [cupy.cuda.runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]
    return f"{cupy.__version__}, {', '.join(names)}"


@command
def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(prog="python -m minigrad.info", description=__doc__).parse_args(argv)
    for part in (describe, measure):
        for name, value in part().items():
            print(f"{name:<16}{value}", flush=True)
    for line in advice():
        print(f"\n{line}")


if __name__ == "__main__":
    main()
