"""What a run ran on: versions, processor, BLAS and thread counts, without which its figures mean little."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from minigrad import info

PEERS = "torch", "jax", "tensorflow"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def describe() -> dict[str, Any]:
    """All of it, ready for JSON."""
    return info.describe() | {
        "torch": _torch(),
        "jax": info.installed("jax") if find_spec("jax") else "not installed",
        "tensorflow": info.installed("tensorflow") if find_spec("tensorflow") else "not installed",
        "load": f"{os.getloadavg()[0]:.1f} processes" if hasattr(os, "getloadavg") else "unknown",
        "thread_variables": {name: os.environ.get(name, "not set") for name in THREAD_VARIABLES},
    }


def lines(environment: dict[str, Any]) -> list[str]:
    """``environment`` to read."""
    shown = "processor", "vectors", "Python", "NumPy", "BLAS", "Numba", "kernels", *PEERS
    variables = ", ".join(f"{k} {v}" for k, v in environment["thread_variables"].items())
    return [
        *(f"{name:<12}{environment[name]}" for name in shown),
        f"{'load':<12}{environment['load']} in the last minute; busy neighbours widen the brackets below",
        f"{'threads':<12}{variables}; every peer runs in its default environment otherwise",
    ]


def _torch() -> str:
    if find_spec("torch") is None:
        return "not installed"
    import torch

    return (
        f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()} kernels, "
        f"{'MKL' if torch.backends.mkl.is_available() else 'no MKL'}, "
        f"{torch.get_num_threads()} threads"
    )
