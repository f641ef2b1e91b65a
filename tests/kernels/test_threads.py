"""Kernels called from several Python threads at once, in forked children, and for the first time; how many threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from kernels.shared import FAST

import minigrad as mg

pytest.importorskip("numba")


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
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip() + done.stderr.strip().rpartition("\n")[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_trains():
    """In a process of its own: other libraries that were imported here may not survive a fork."""
    code = """
import multiprocessing
import minigrad as mg
from minigrad.kernels.compiled import threads
from test_threads import train
threads.ENOUGH = 1
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


def test_numba_is_told_how_many(monkeypatch):
    """Each time the number has changed, and after the first call of a Python thread."""
    from minigrad.kernels.compiled import threads

    monkeypatch.setattr(threads, "ENOUGH", 1)
    monkeypatch.setattr(threads, "MOST", 3)
    told, before = [], mg.get_num_threads()
    monkeypatch.setattr(threads.numba, "set_num_threads", told.append)
    monkeypatch.setattr(threads, "_told", threads._Told())
    for count in (2, 2, 3, 1, 2, 5):
        mg.set_num_threads(count)
        FAST.relu(np.ones(8, np.float32))
    mg.set_num_threads(before)
    assert told == [2, 3, 2, 3]


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
from minigrad.kernels.compiled.threads import WAITING
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
    assert found.startswith(expected) or (
        "threading layer" in found and not before and not environment
    )
    assert found.split()[-1] == environment.get("GOMP_SPINCOUNT", "None")
