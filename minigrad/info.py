"""``python -m minigrad.info``: what minigrad found on this machine, how fast that is, and what could be set better."""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from . import backend
from .command import command
from .kernels.threads import get_num_threads

#: kernels of OpenBLAS that use 256-bit vectors where the processor has 512-bit ones
NARROW = {"Haswell", "Zen", "Sandybridge", "Nehalem"}
VARIABLES = ("MINIGRAD_KERNELS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE")


def installed(package: str) -> str:
    """Its version, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def describe() -> dict[str, str]:
    """What there is, by name, in words."""
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    found = openblas()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": f"{_processor()}, {cores} of {os.cpu_count()} cores usable",
        "vectors": " ".join(config.get("SIMD Extensions", {}).get("found", [])) or "unknown",
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "BLAS": f"{blas.get('name')} {blas.get('version')}"
        + (f", {found[0]} kernels, {found[1]} threads" if found else ""),
        "Numba": installed("numba"),
        "kernels": f"{type(backend.get('numpy').kernels).__name__}, {get_num_threads()} threads",
        "CuPy": _devices(),
        "environment": ", ".join(f"{name} {os.environ.get(name, 'not set')}" for name in VARIABLES),
    }


def advice() -> Iterator[str]:
    """What to set or install, if anything."""
    config: Any = np.show_config(mode="dicts")
    wide = any("AVX512" in name for name in config.get("SIMD Extensions", {}).get("found", []))
    found = openblas()
    if found and wide and found[0] in NARROW:
        yield (
            f"OpenBLAS runs its {found[0]} kernels, with 256-bit vectors, on a processor that has 512-bit ones: for "
            "NumPy's own products, and MINIGRAD_KERNELS=numpy, try OPENBLAS_CORETYPE=SkylakeX"
        )
    if installed("numba") == "not installed":
        yield "Numba is not installed: with it batch norm, activations and convolutions are several times as fast"


def measure() -> dict[str, str]:
    """Matrix products in float32 and copies of memory: the best of a third of a second each."""
    kernels = backend.get("numpy").kernels
    a, b = np.ones((2, 1024, 1024), np.float32)
    x, y = np.ones((2, 2**24), np.float32)
    flops = 2 * 1024**3 / _best(lambda: kernels.matmul(a, b))
    read_and_written = 2 * x.nbytes / _best(lambda: np.copyto(y, x))
    return {
        "matrix products": f"{flops / 1e9:.0f} GFLOP/s (1024 x 1024 x 1024, float32)",
        "copies": f"{read_and_written / 1e9:.0f} GB/s read and written (64 MB, one thread)",
    }


def openblas() -> tuple[str, int] | None:
    """The processors for which the OpenBLAS in NumPy's wheels chose its kernels, and its threads; None without one."""
    package = Path(np.__file__).parent
    folders = package.parent / "numpy.libs", package / ".dylibs"
    for path in (found for folder in folders for found in folder.glob("*openblas64_*")):
        try:
            library = ctypes.CDLL(str(path))
            family = library.scipy_openblas_get_corename64_
            family.restype = ctypes.c_char_p
            return family().decode(), library.scipy_openblas_get_num_threads64_()
        except (AttributeError, OSError):
            continue
    return None


def _best(work: Callable[[], Any]) -> float:
    """Seconds."""
    times: list[float] = []
    end = perf_counter() + 1 / 3
    while len(times) < 2 or perf_counter() < end:
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return min(times)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


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
