"""Kernels called from several Python threads at once, in forked children, and for the first time; how many threads."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers import python

import minigrad as mg
from minigrad.kernels.threads import AVAILABLE, BUSY, PAUSED, WANTED

numba = pytest.importorskip("numba")


def train(steps=4):
    rng = np.random.default_rng(0)
    model = mg.nn.Sequential(
        mg.nn.Conv2d(3, 16, 3, stride=2, bias=False, rng=rng),
        mg.nn.BatchNorm(16),
        mg.nn.Sigmoid(),
        mg.nn.Flatten(),
        mg.nn.Linear(16 * 49, 10, rng=rng),
    )
    optimizer = mg.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        x = mg.tensor(rng.normal(size=(64, 3, 16, 16)).astype(np.float32))
        optimizer.zero_grad()
        mg.softmax_cross_entropy(model(x), mg.tensor(rng.integers(0, 10, 64))).backward()
        optimizer.step()
    return b"".join(v.tobytes() for v in model.state_dict().values())


def test_several_python_threads_train_at_once(threads):
    expected, found = train(), []
    workers = [threading.Thread(target=lambda: found.append(train())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 4


def run(code, **environment):
    done = python("-c", code, **environment)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_trains():
    """In a process of its own: other libraries that were imported here may not survive a fork."""
    code = """
import multiprocessing
import minigrad as mg
from minigrad.kernels.threads import ENOUGH, TEAM
from test_threads import train
TEAM[ENOUGH] = 1
mg.set_num_threads(2)
expected = train()
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(train).get(timeout=60) == expected, train() == expected)
"""
    here = os.path.dirname(__file__)
    assert run(code, PYTHONPATH=os.pathsep.join([here, *sys.path])) == "True True"


def test_numba_is_imported_at_the_first_call_of_a_kernel():
    code = """
import sys, minigrad as mg
x = mg.ones((4, 3))
assert "numba" not in sys.modules
mg.batch_norm(x + mg.arange(12).reshape(4, 3), None, None)
print("numba" in sys.modules)
"""
    assert run(code, MINIGRAD_KERNELS="") == "True"
    assert run(code, MINIGRAD_KERNELS="numpy") == "False"
    assert "expected numba or numpy, got 'fast'" in run(code, MINIGRAD_KERNELS="fast")


PARTS = 6


@pytest.fixture(scope="module")
def workers():
    """A function that says how many threads work on PARTS parts of ``work`` numbers."""
    from minigrad.kernels.compiled.launch import share

    thread = ctypes.CDLL(None).pthread_self
    thread.restype, thread.argtypes = ctypes.c_uint64, []

    @numba.njit
    def note(i, ids):
        ids[i] = thread()

    @numba.njit
    def run(work, ids):
        share(work, len(ids), note, (ids,))

    def count(work):
        ids = np.zeros(PARTS, np.uint64)
        run(work, ids)
        assert ids.all()
        return len(set(ids.tolist()))

    return count


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "pthread_self"), reason="no POSIX threads")
@pytest.mark.parametrize(
    ("change", "work", "expected"),
    [
        ({}, 2**15, 2),
        ({}, 2**15 - 1, 1),
        ({WANTED: 1}, 2**20, 1),
        ({WANTED: 9}, 2**20, 2),
        ({AVAILABLE: 1}, 2**20, 1),
        ({BUSY: 1}, 2**20, 1),
    ],
)
def test_how_many_threads_work(workers, team, change, work, expected):
    if team[AVAILABLE] < 2:
        pytest.skip("Numba has one thread")
    team[:] = 2, 2, 2**15, 0, 0
    for place, value in change.items():
        team[place] = value
    assert workers(work) == expected
    assert team[BUSY] == change.get(BUSY, 0)


def test_work_is_not_shared_for_a_while_when_a_thread_had_to_wait(workers, team):
    from minigrad.kernels.compiled.launch import _HAS_CLOCK, share

    if not _HAS_CLOCK or team[AVAILABLE] < 2:
        pytest.skip("there is no clock that programs may read, or Numba has one thread")

    @numba.njit
    def wait(i, x):
        for _ in range(5_000_000):
            x[i] = x[i] / 2 + 1

    @numba.njit
    def run(x):
        share(2**15, len(x), wait, (x,))

    team[:] = 2, 2, 2**15, 0, 0
    run(np.ones(2))
    assert (until := int(team[PAUSED])) > 0
    assert workers(2**20) == 1
    assert team[PAUSED] == until
    team[PAUSED] = 1  # is over
    assert workers(2**20) == 2
    team[PAUSED] = 2**62  # of a clock that was set back
    assert workers(2**20) == 2


def test_a_part_that_fails_is_an_error(team):
    from minigrad.kernels.compiled.launch import share

    @numba.njit(error_model="numpy")
    def fail(i, x):
        if i == len(x) - 1:
            raise ValueError("no memory, say")

    @numba.njit
    def run(x):
        share(2**20, len(x), fail, (x,))

    for wanted in (1, 2):
        team[WANTED] = wanted
        with pytest.raises(MemoryError, match="a compiled kernel"):
            run(np.ones(PARTS))
        assert team[BUSY] == 0


def test_number_of_threads():
    code = "import minigrad as mg; print(mg.get_num_threads())"
    assert run(code, OMP_NUM_THREADS="3") == "3"
    assert run(code, OMP_NUM_THREADS="2,1") == "2"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert run(code, OMP_NUM_THREADS="") == str(cores)
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="set_num_threads: expected a positive integer"):
            mg.set_num_threads(wrong)


@pytest.mark.parametrize(
    ("before", "environment", "expected"),
    [
        ("", {}, "spin briefly"),
        ("", {"GOMP_SPINCOUNT": "5"}, "wait as GOMP_SPINCOUNT says"),
        ("", {"OMP_WAIT_POLICY": "passive"}, "wait as OMP_WAIT_POLICY says"),
        ("from numba.np.ufunc import omppool", {}, "spin for long"),
    ],
)
def test_how_threads_wait(before, environment, expected):
    """What is set for OpenMP is set while it is loaded only, and the user's settings come first."""
    program = f"""
import os
{before}
from minigrad.kernels.compiled.launch import WAITING
print(WAITING, os.environ.get("GOMP_SPINCOUNT"))
"""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP", "OMP"))}
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    unset = not before and not environment
    assert found.startswith(expected) or ("threading layer" in found and unset)
    assert found.split()[-1] == environment.get("GOMP_SPINCOUNT", "None")


def test_numbas_own_number_of_threads_stays():
    code = "import numba, minigrad as mg; numba.set_num_threads(1); mg.relu(mg.ones((2, 3)))"
    assert run(f"{code}; print(numba.get_num_threads())", MINIGRAD_KERNELS="") == "1"
