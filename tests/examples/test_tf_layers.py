"""examples/tf_layers.py: both transforms agree, the network learns, and its moving averages move in training alone."""

from __future__ import annotations

import re

import numpy as np
import pytest

import minigrad as mg
from examples import tf_layers
from minigrad import layers


@pytest.fixture(autouse=True)
def clean():
    layers.reset()
    yield
    layers.reset()


def test_by_hand_is_numpys_batch_norm_and_the_layers():
    a = np.random.default_rng(1).normal(3, 2, (20, 4))
    xhat = (a - a.mean(0)) / np.sqrt(a.var(0) + 0.001)
    for function in (tf_layers.bn_transform, tf_layers.bn_layer):
        y = function(mg.tensor(a))
        np.testing.assert_allclose(y.numpy(), 1 / (1 + np.exp(-xhat)), rtol=1e-12)


def test_compare_sees_a_difference(monkeypatch):
    assert max(tf_layers.compare(0).values()) < 1e-12
    monkeypatch.setattr(tf_layers, "EPSILON", 0.5)
    assert max(tf_layers.compare(0).values()) < 1e-12
    monkeypatch.setattr(tf_layers, "bn_layer", mg.sigmoid)
    differences = tf_layers.compare(0)
    assert differences["outputs"] > 0.1 and differences["gradients"] > 0.01


def test_training():
    net, losses = tf_layers.train(300, 0)
    assert losses[0] > 2 and np.mean(losses[-10:]) < 0.15
    assert tf_layers.accuracy(net) > 0.85
    assert [len(v) for v in tf_layers.moving(net).values()] == [tf_layers.HIDDEN] * 4
    again, same = tf_layers.train(300, 0)
    assert losses == same and tf_layers.accuracy(net) == tf_layers.accuracy(again)
    assert losses != tf_layers.train(5, 1)[1]


def test_moving_averages_move_in_training_only():
    """A step moves them by a hundredth towards its batch's: TensorFlow's momentum is 0.99."""
    net, _ = tf_layers.train(1, 0)
    mg.manual_seed(0)  # the first weights, and the first batch, once more
    images, _ = mg.data.digits("train")
    batch = np.random.default_rng(0).choice(len(images), 60, replace=False)
    h = layers.dense(mg.tensor(images[batch].reshape(60, -1)), tf_layers.HIDDEN, use_bias=False)
    h, found = h.numpy(), tf_layers.moving(net)
    mean, variance = (found[f"digits/batch_normalization/moving_{n}"] for n in ("mean", "variance"))
    np.testing.assert_allclose(mean, 0.01 * h.mean(0), atol=1e-6)
    np.testing.assert_allclose(variance, 0.99 + 0.01 * h.var(0), rtol=1e-6)
    tf_layers.accuracy(net)
    for name, value in tf_layers.moving(net).items():
        np.testing.assert_array_equal(value, found[name])


def test_main_prints_what_it_found(capsys):
    tf_layers.main(["--steps", "40", "--seed", "3"])
    out = capsys.readouterr().out
    differences = re.findall(r"largest difference of \w+ +(\S+)$", out, re.MULTILINE)
    assert len(differences) == 2 and all(float(d) < 1e-12 for d in differences)
    assert re.search(r"^   Variable +\(5,\) +trained$", out, re.MULTILINE)
    assert re.search(r"^   batch_normalization/moving_mean +\(5,\) +moving average$", out, re.M)
    net, losses = tf_layers.train(40, 3)
    assert f"{losses[0]:.4f} at the first step, {losses[-1]:.4f} at the last" in out
    assert f"test accuracy  {tf_layers.accuracy(net):.3f}" in out
    rows = re.findall(r"^   (digits/\S+) +([01]\.0) +(\S+) +(\S+)$", out, re.MULTILINE)
    assert len(rows) == 4
    for name, began, low, high in rows:
        v = tf_layers.moving(net)[name]
        assert (low, high) == (f"{v.min():.4f}", f"{v.max():.4f}")
        assert (v != float(began)).all()
    assert "training=True moved them; testing did not." in out
