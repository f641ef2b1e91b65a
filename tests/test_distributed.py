"""Several processes, started by mpiexec: they compute what one does with the whole batch, and end together.

Which checks there are, and what they check, is in ranks.py, which runs all of them with one start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import ranks
from helpers import refuses

from minigrad import distributed as dist

ROOT = Path(__file__).parent.parent
MPIEXEC = shutil.which(
    "mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
launched = pytest.mark.skipif(
    not (MPIEXEC and find_spec("mpi4py")),
    reason="mpi4py or mpiexec is missing: pip install minigrad-bn[mpi]",
)
#: one thread each, and waiting processes leave their core to others
QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "MINIGRAD_KERNELS": "numpy",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "0",
    "PYTHONPATH": str(ROOT),
}


def run(processes, *arguments):
    command = [
        MPIEXEC,
        "-n",
        str(processes),
        sys.executable,
        str(ROOT / "tests" / "ranks.py"),
        *arguments,
    ]
    done = subprocess.run(
        command, env=os.environ | QUIET, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


@launched
@pytest.mark.parametrize("processes", [2, 3])
def test_several_compute_what_one_does(processes):
    code, out, err = run(processes)
    assert code == 0, out + err


@launched
@pytest.mark.parametrize(
    ("what", "words"),
    {
        "raises": "rank 1 ends all: ValueError: this part has no labels",
        "is killed": "signal 9",
        "exits": "rank 1 is at the end of the program",
        "has another model": "rank 1 is at broadcast [('0.weight', (4, 1, 3, 3)",
        "has other gradients": "rank 1 is at all_reduce float64 [(10,)",
        "has other features": "rank 1 is at the statistics of a batch norm, float32 (5,)",
    }.items(),
)
def test_one_ends_all(what, words):
    start = time.monotonic()
    code, out, err = run(3, what)
    assert code != 0 and words in out + err, out + err
    assert time.monotonic() - start < 30


def test_without_mpiexec_it_is_one_process():
    together, alone = (ranks.Training("cnn", "sgd", shared) for shared in (True, False))
    assert together.run(3).tobytes() == alone.run(3).tobytes()
    ranks.require_same_bits(together.state(), alone.state())


def test_mpi4py_is_asked_for(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with refuses(ImportError, 'pip install "minigrad-bn[mpi]"'):
        dist.init.__wrapped__()
