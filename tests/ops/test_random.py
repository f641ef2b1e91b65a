"""Dropout and the generators behind it."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close, equal

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("p", [0.25, 0.5, np.float64(0.75)])
def test_dropout_zeroes_and_scales_what_the_seed_says_on_every_backend(p, dtype):
    x = mg.full((4, 5), 3, dtype=dtype)
    y = mg.dropout(x, p, np.random.default_rng(7))
    numbers = np.random.Philox(key=int(np.random.default_rng(7).integers(2**63)))
    kept = np.random.Generator(numbers).random((4, 5), np.float32) >= p
    close(y, (np.where(kept, 3, 0) / (1 - p)).astype(dtype), 1e-3 if dtype == "float16" else 1e-6)
    assert y.dtype == dtype


def test_seeds():
    x = mg.ones(50)

    def masks():
        return [mg.dropout(x).numpy().tobytes() for _ in range(2)]

    mg.manual_seed(3)
    first = masks()
    mg.manual_seed(3)
    assert masks() == first
    assert first[0] != first[1]
    mg.manual_seed(4)
    assert masks() != first


def test_a_generator_given_leaves_the_default_one_alone():
    mg.manual_seed(3)
    expected = mg.dropout(mg.ones(50))
    mg.manual_seed(3)
    mg.dropout(mg.ones(50), rng=np.random.default_rng(0))
    equal(mg.dropout(mg.ones(50)), expected)


def test_numpys_global_state_is_left_alone():
    before = np.random.get_state()[1].tobytes()
    mg.manual_seed(0)
    mg.dropout(mg.ones(3))
    assert np.random.get_state()[1].tobytes() == before
