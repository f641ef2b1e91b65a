"""The CUDA kernels of softmax cross-entropy, run on the CPU, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from cuda.shared import close, each_dtype, in_every_order, kernels, needs_compiler, same

from minigrad.kernels.cuda.loss import LABELS

pytestmark = needs_compiler
SHAPES = [(1, 1), (1, 2), (5, 3), (60, 10), (300, 7), (3, 255), (2, 256), (2, 257), (3, 1000)]


def reference(logits, labels):
    z = logits.astype(np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    return -np.log(p[np.arange(len(z)), labels]), p


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("weight", [None, 0.25])
def test_loss_and_gradient(rng, dtype, shape, weight):
    rows, classes = shape
    logits = rng.normal(0, 5, shape).astype(dtype)
    labels = rng.integers(classes, size=rows)
    gy = rng.normal(1, 1, rows if weight is None else ()).astype(dtype)

    def run(k):
        z, t, g = (k.xp.place(a) for a in (logits, labels, gy))
        loss, p = k.softmax_cross_entropy(z, t, weight)
        gradient = k.softmax_cross_entropy_grad(p, t, g, weight)
        k.check()
        return loss, p, gradient

    loss, p, gradient = in_every_order(run)
    losses, expected = reference(logits, labels)
    assert loss.dtype == p.dtype == gradient.dtype == dtype
    close(loss, losses if weight is None else losses.sum() * weight)
    close(p, expected)
    scale = gy.astype(np.float64) * (1 if weight is None else weight)
    p = p.astype(np.float64)
    close(gradient, (p - np.eye(classes)[labels]) * np.reshape(scale, (-1, 1)))


@pytest.mark.parametrize("dtype", LABELS)
def test_labels_of_every_dtype(rng, dtype):
    logits, labels = rng.normal(size=(6, 4)).astype(np.float32), np.array([3, 0, 1, 2, 3, 0], dtype)
    k = kernels()
    loss, _ = k.softmax_cross_entropy(k.xp.place(logits), k.xp.place(labels), None)
    close(loss.hidden, reference(logits, labels.astype(int))[0])


@pytest.mark.parametrize("label", [-1, 4, 2**40])
def test_a_label_that_is_no_class(rng, label):
    logits, labels = rng.normal(size=(3, 4)).astype(np.float32), np.array([1, label, 2])
    k = kernels()
    t, ones = k.xp.place(labels), k.xp.place(np.ones(3, np.float32))
    loss, p = k.softmax_cross_entropy(k.xp.place(logits), t, None)
    assert np.isnan(loss.hidden).tolist() == [False, True, False]
    g = k.softmax_cross_entropy_grad(p, t, ones, None).hidden
    assert not g[1].any() and g[0].any() and g[2].any()
    assert k.faults.fine.hidden == 0
    with pytest.raises(ValueError, match=rf"labels 0 \.\.\. 3, got {label}$"):
        k.check()
    assert k.faults.fine.hidden == 1
    k.xp.check()


def test_large_logits_do_not_overflow_and_no_examples_are_no_error():
    k = kernels()
    logits = k.xp.place(np.float32([[1e4, -1e4], [-1e4, 1e4]]))
    found = k.softmax_cross_entropy(logits, k.xp.place(np.array([0, 0])), None)
    same(found, [np.float32([0, 2e4]), np.float32([[1, 0], [0, 1]])])
    logits, labels = k.xp.place(np.empty((0, 3), np.float32)), k.xp.place(np.empty(0, np.int64))
    loss, p = k.softmax_cross_entropy(logits, labels, None)
    assert loss.hidden.shape == (0,) and p.hidden.shape == (0, 3)
    assert k.softmax_cross_entropy(logits, labels, 0.5)[0].hidden == 0
