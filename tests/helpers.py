"""What many tests need: arrays on the backend under test, random Tensors, comparison, tables of errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import minigrad as mg
from minigrad import backend as backends


def device(array):
    """A NumPy array as one of the backend under test."""
    return backends.default().from_numpy(np.asarray(array))


def normal(rng, *shape, requires_grad=False):
    """Normal float64 values."""
    return mg.tensor(rng.standard_normal(shape), requires_grad=requires_grad)


def leaf(values, dtype=np.float64):
    """A tensor that requires a gradient."""
    return mg.tensor(values, requires_grad=True, dtype=dtype)


def close(actual, expected, tolerance=1e-12):
    """Equal shapes, and finite values within ``tolerance``, absolute or relative; Tensors or arrays."""
    a, b = (v.numpy() if isinstance(v, mg.Tensor) else np.asarray(v) for v in (actual, expected))
    assert a.shape == b.shape
    assert np.isfinite(a).all() and np.isfinite(b).all(), (a, b)
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def equal(actual, expected):
    """Equal shapes and values, NaN like NaN."""
    a, b = (v.numpy() if isinstance(v, mg.Tensor) else np.asarray(v) for v in (actual, expected))
    assert a.shape == b.shape
    np.testing.assert_array_equal(a, b)


def error_table(table):
    """Parametrize over ``{name: (error, words of its message, call)}``."""
    rows = [pytest.param(*row, id=name) for name, row in table.items()]
    return pytest.mark.parametrize(("error", "words", "call"), rows)


@contextmanager
def refuses(error, words):
    """``pytest.raises`` for a message that contains exactly these words; a device may tell when it is asked."""
    with pytest.raises(error, match=re.escape(words)) as caught:
        yield caught
        settle()


def settle():
    """Wait for the device, which then tells what was wrong with values."""
    mg.ones(1).numpy()


def python(*arguments, cwd=None, **environment):
    """A Python process that finds the modules that this one finds, when it has ended."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def subclasses(kind):
    """A class and all that are derived from it."""
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def double(layer):
    """The layer in float64, with random parameters and buffers."""
    rng = np.random.default_rng(7)
    for t in layer.parameters() + layer.buffers():
        if t.dtype.kind == "f":
            t.data = mg.tensor(rng.uniform(0.5, 2, t.shape)).data
    return layer


def content(module):
    """Everything ``load_state_dict`` could change, as bytes."""
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in module.state_dict().items()}
