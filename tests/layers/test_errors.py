"""What is refused, and that nothing is left of it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers import error_table, refuses

import minigrad as mg
from minigrad import layers

pytestmark = pytest.mark.usefixtures("backend")
dense, bn = layers.dense, layers.batch_normalization


def wrong_shape(shape, rng):
    return np.zeros(7, np.float32)


ones = partial(mg.ones, (4, 3))
ERRORS = {
    "array": (TypeError, "dense 'dense', argument x: expected a minigrad Tensor", lambda: dense(np.ones(3), 2)),
    "integers": (
        TypeError,
        "batch_normalization 'batch_normalization': expected a floating dtype",
        lambda: bn(mg.ones((4, 3), dtype=np.int64)),
    ),
    "vector": (ValueError, "dense 'dense': expected inputs of at least 2", lambda: dense(mg.ones(3), 2)),
    "units": (ValueError, "dense 'dense': expected units to be a positive", lambda: dense(ones(), 0)),
    "activation": (TypeError, "dense 'dense': expected activation to be", lambda: dense(ones(), 2, "relu")),
    "activation_fails": (ZeroDivisionError, "division by zero", lambda: dense(ones(), 2, lambda x: 1 / 0)),
    "initializer": (
        TypeError,
        "dense 'a': expected bias_initializer to be callable, got None",
        lambda: dense(ones(), 2, bias_initializer=None, name="a"),
    ),
    "kernel_initializer": (
        TypeError,
        "dense 'dense': expected kernel_initializer to be callable, got 'zeros'",
        lambda: dense(ones(), 2, kernel_initializer="zeros"),
    ),
    "regularizer": (
        TypeError,
        "batch_normalization 'b': expected gamma_regularizer to be callable, got 0.1",
        lambda: bn(ones(), gamma_regularizer=0.1, name="b"),
    ),
    "initial_shape": (
        ValueError,
        "'b/moving_variance': expected an initial value of shape (3,), got (7,)",
        lambda: bn(ones(), moving_variance_initializer=wrong_shape, name="b"),
    ),
    "kernel_shape": (
        ValueError,
        "dense 'dense': expected an initial value of shape (2, 3), got (7,)",
        lambda: dense(ones(), 2, kernel_initializer=wrong_shape),
    ),
    "bias_shape": (ValueError, "'dense/bias': expected", lambda: dense(ones(), 2, bias_initializer=wrong_shape)),
    "axes": (TypeError, "expected axis as an int, got (0, 1)", lambda: bn(ones(), axis=(0, 1))),
    "axis": (ValueError, "'batch_normalization': axis 2 is out of range", lambda: bn(ones(), axis=2)),
    "momentum": (ValueError, "'b': expected momentum in [0, 1], got 1.5", lambda: bn(ones(), momentum=1.5, name="b")),
    "no_momentum": (ValueError, "expected momentum in [0, 1], got None", lambda: bn(ones(), momentum=None)),
    "epsilon": (ValueError, "expected epsilon > 0, got 0", lambda: bn(ones(), epsilon=0)),
    "one_value": (ValueError, "batch_normalization 'b': ", lambda: bn(mg.ones((1, 3)), training=True, name="b")),
    "name": (ValueError, "dense: expected a name, got ''", lambda: dense(ones(), 2, name="")),
    "slash": (ValueError, "dense: expected a name, got 'a/'", lambda: dense(ones(), 2, name="a/")),
    "reuse": (ValueError, "expected reuse True, False or None, got 'auto'", lambda: bn(ones(), reuse="auto")),
    "missing": (
        ValueError,
        "dense 'a': variable 'a/kernel' does not exist",
        lambda: dense(ones(), 2, name="a", reuse=True),
    ),
    "scope_name": (ValueError, "variable_scope: expected a name, got 3", lambda: layers.variable_scope(3).__enter__()),
    "template_name": (ValueError, "make_template: expected a name", lambda: layers.make_template("", ones)),
    "template": (TypeError, "make_template: expected a callable, got 3", lambda: layers.make_template("a", 3)),
    "variable": (TypeError, "Variable: expected a floating dtype", lambda: layers.Variable(np.arange(3))),
    "scale": (ValueError, "l2_regularizer: expected scale >= 0, got -1", lambda: layers.l2_regularizer(-1)),
    "moments": (ValueError, "moments: axis 2 is out of range", lambda: layers.moments(ones(), [2])),
    "moments_empty": (ValueError, "moments: expected at least one", lambda: layers.moments(mg.ones((0, 3)), [0])),
    "moments_array": (TypeError, "moments, argument x: expected", lambda: layers.moments(np.ones(3), [0])),
}  # fmt: skip


@error_table(ERRORS)
def test_errors_make_no_variables(error, words, call):
    with refuses(error, words):
        call()
    assert not layers.variables()
    dense(ones(), 2)
    bn(ones(), training=True)
    names = list(layers.variables())
    assert names[0] == "dense/kernel" and names[2] == "batch_normalization/gamma"
