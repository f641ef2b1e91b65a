"""Layers with constant variables, and the names in the default store."""

from __future__ import annotations

from functools import partial

import numpy as np

import minigrad as mg
from minigrad import layers
from minigrad.nn import init

dense, bn = layers.dense, layers.batch_normalization


def names():
    return list(layers.variables())


def values(**kinds):
    """Initializers that give these constants."""
    return {
        f"{kind}_initializer": partial(init.constant, value=value) for kind, value in kinds.items()
    }


def x2(rng, n=4, m=3):
    return mg.tensor(rng.standard_normal((n, m)).astype(np.float32))
