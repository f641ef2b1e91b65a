"""The strict backend with the CUDA kernels in it, as the default."""

from __future__ import annotations

import pytest
import strict

import minigrad as mg


@pytest.fixture
def emulated():
    if not strict.emulated():
        pytest.skip("there is no g++, or MINIGRAD_KERNELS=numpy asks for none of the CUDA kernels")
    mg.set_backend("strict")
    yield
    mg.set_backend("numpy")
