"""One ``backend`` fixture: tests that use it run on NumPy and on the strict device, or on what --backend names."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from pathlib import Path

# One thread for each of the processes that share the cores: set before NumPy and Numba read it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import strict

import minigrad as mg
from minigrad import backend as backends

backends.register("strict", strict.load)


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        action="append",
        choices=["numpy", "strict", "cupy"],
        help="run on this backend; may be given several times (default: numpy and strict)",
    )


def pytest_configure(config):
    for name in config.getoption("--backend") or ():
        try:
            backends.get(name)
        except (ImportError, RuntimeError) as error:
            pytest.exit(f"--backend {name}: {' '.join(str(error).split())}", returncode=2)


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--backend") or ["numpy", "strict"]
        metafunc.parametrize("backend", chosen, indirect=True)


@pytest.fixture
def backend(request):
    """The name of the backend on which tensors are born during the test."""
    before = backends.default().name
    mg.set_backend(request.param)
    yield request.param
    mg.set_backend(before)


@pytest.fixture
def emulated():
    """The strict device with the CUDA kernels in it, as the default."""
    if not strict.emulated():
        pytest.skip("there is no g++, or MINIGRAD_KERNELS=numpy asks for none of the CUDA kernels")
    mg.set_backend("strict")
    yield
    mg.set_backend("numpy")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


#: what a contributor runs after each change: files that have a test for most mistakes, and take little time
CORE = {
    Path(__file__).parent / name
    for name in (
        "test_budgets.py",
        "test_golden.py",
        "test_layering.py",
        "test_tensor.py",
        "graph/test_jit.py",
        "graph/test_replay.py",
        "kernels/test_products.py",
        "nn/test_module.py",
        "ops/test_batch_norm.py",
        "ops/test_edges.py",
        "study/test_gradcheck.py",
    )
}


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")
        if item.path in CORE:
            item.add_marker("core")


def pytest_ignore_collect(collection_path, config):
    """With ``-m core``, import no other test modules."""
    other = collection_path.is_file() and collection_path not in CORE
    return True if other and config.option.markexpr == "core" else None


@pytest.fixture(scope="session")
def oracle(request):
    """Imports a module to compare with; where it is missing the test is skipped, or fails under ``-m torch``."""
    demanded = request.config.option.markexpr == "torch"

    def find(name):
        with warnings.catch_warnings():  # of some versions, when they are imported
            warnings.simplefilter("ignore")
            return import_module(name) if demanded else pytest.importorskip(name)

    return find


@pytest.fixture(scope="session")
def torch(oracle):
    """PyTorch, an oracle from outside."""
    return oracle("torch")
