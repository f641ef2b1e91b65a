"""What a run ran on: versions, processor, BLAS and thread counts, without which its figures mean little."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from minigrad import backend

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def describe() -> dict[str, Any]:
    """All of it, ready for JSON; what cannot be known is said in words."""
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    simd = config.get("SIMD Extensions", {})
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_usable": _usable_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numpy_simd": [*simd.get("baseline", []), *simd.get("found", [])],
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "blas_at_run_time": _thread_pools(),
        "torch": _torch(),
        "jax": version("jax") if find_spec("jax") else "not installed",
        "numba": version("numba") if find_spec("numba") else "not installed",
        "kernels": type(backend.get("numpy").kernels).__name__,
        "thread_variables": {name: os.environ.get(name, "not set") for name in THREAD_VARIABLES},
    }


def lines(environment: dict[str, Any]) -> list[str]:
    """``environment`` to read."""
    e = environment
    load = "unknown" if e["load"] is None else f"{e['load']:.1f} processes in the last minute"
    variables = ", ".join(f"{name} {value}" for name, value in e["thread_variables"].items())
    return [
        f"{e['processor']} ({e['system']}), {e['cores_usable']} of {e['cores']} cores usable",
        f"Load at the start: {load}. Busy neighbours widen the brackets below.",
        f"Python {e['python']}, NumPy {e['numpy']} ({' '.join(e['numpy_simd'])}), BLAS {e['blas']}",
        f"BLAS at run time: {e['blas_at_run_time']}",
        f"minigrad: {e['kernels']} (Numba {e['numba']}). torch: {e['torch']}. jax: {e['jax']}",
        f"Threads: {variables}. Every peer runs in its default environment otherwise.",
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _thread_pools() -> str:
    if find_spec("threadpoolctl") is None:
        return "kernel family and threads unknown, threadpoolctl is not installed"
    import threadpoolctl  # type: ignore[import-not-found,unused-ignore]

    pools = [
        f"{p['internal_api']} {p['version']}, {p.get('architecture', 'unnamed')} kernels, "
        f"{p['num_threads']} threads"
        for p in threadpoolctl.threadpool_info()
        if p["user_api"] == "blas"
    ]
    return "; ".join(pools) or "none found"


def _torch() -> str:
    if find_spec("torch") is None:
        return "not installed"
    import torch

    return (
        f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()} kernels, "
        f"{'MKL' if torch.backends.mkl.is_available() else 'no MKL'}, "
        f"{torch.get_num_threads()} threads"
    )
