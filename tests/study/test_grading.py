"""grade: cs231n's functions are right, in all variants, and what is edited in them is named."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg


def forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param["eps"], bn_param["momentum"]
    mean, var = bn_param["running_mean"], bn_param["running_var"]
    if bn_param["mode"] == "test":
        return gamma * (x - mean) / np.sqrt(var + eps) + beta, None
    mu, v = x.mean(axis=0), x.var(axis=0)
    bn_param["running_mean"] = momentum * mean + (1 - momentum) * mu
    bn_param["running_var"] = momentum * var + (1 - momentum) * v
    std = np.sqrt(v + eps)
    xhat = (x - mu) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def backward(dout, cache):
    xhat, gamma, std = cache
    dbeta, dgamma = dout.sum(axis=0), (dout * xhat).sum(axis=0)
    dx = gamma / std * (dout - dbeta / len(dout) - xhat * dgamma / len(dout))
    return dx, dgamma, dbeta


def layer_forward(x, gamma, beta, ln_param):
    std = np.sqrt(x.var(axis=1, keepdims=True) + ln_param["eps"])
    xhat = (x - x.mean(axis=1, keepdims=True)) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def layer_backward(dout, cache):
    xhat, gamma, std = cache
    dxhat = dout * gamma
    means = dxhat.mean(axis=1, keepdims=True), (dxhat * xhat).mean(axis=1, keepdims=True)
    return (dxhat - means[0] - xhat * means[1]) / std, (dout * xhat).sum(axis=0), dout.sum(axis=0)


def image_forward(x, gamma, beta, bn_param):
    out, cache = forward(np.moveaxis(x, 1, -1).reshape(-1, len(gamma)), gamma, beta, bn_param)
    return np.moveaxis(out.reshape(*x.shape[:1], *x.shape[2:], -1), -1, 1), cache


def image_backward(dout, cache):
    n, c, h, w = dout.shape
    dx, *rest = backward(dout.transpose(0, 2, 3, 1).reshape(-1, c), cache)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), *rest


PAIRS = {
    "batch": (forward, backward),
    "layer": (layer_forward, layer_backward),
    "image": (image_forward, image_backward),
}
#: norm | in the functions' source | instead | the output that is wrong first | what is said
EDITS = """
batch | mu | mu | None | running_var is biased, as in cs231n.
layer | std | std | None | dx      exact
image | n, | n, | None | running_mean  exact
batch | * v% | * v * len(x) / (len(x) - 1)% | None | running_var is unbiased, as in the paper.
batch | bn_param["eps"] | 1e-5 | None | eps is 1e-05, not 0.001.
batch | mu, v = | x -= 1; mu, v = | running_mean | forward changes x.
batch | x.var(axis=0) | x.var(axis=0, ddof=1) | dx | m for m - 1
batch | np.sqrt(v + eps) | np.sqrt(v) + eps | out | eps outside the square root
batch | momentum * mean + (1 - momentum) | (1 - momentum) * mean + momentum | running_mean | swapped
batch | momentum * var + (1 - momentum) * v | v | running_var | var for old_var
batch | == "test" | == "eval" | test | batch statistics in test mode
batch | - dbeta / len(dout) | - 0 | dx | missing mean path
batch | dx, dgamma, dbeta% | dx, dbeta, dgamma% | dbeta | ggamma and gbeta swapped
batch | dx, dgamma, dbeta% | dx, dgamma% | dx | expected dx, dgamma, dbeta to be returned: ValueError
batch | dx, dgamma, dbeta% | dx, None, dbeta% | dgamma | dgamma is missing: expected numbers, got None.
batch | xhat = (x | raise KeyError("x"); xhat = (x | out | KeyError: 'x'
batch | - xhat * | - xhat**2 / xhat * | dx | NaN or infinity
batch | momentum * var + (1 - momentum) * v% | momentum * var + momentum * v% | running_var | momentum for 1 - momentum
batch | np.sqrt(var + eps) | (var + eps) | test | missing square root
batch | momentum * mean + (1 - momentum) * mu | mean | running_mean | old_mean
batch | 1 - momentum) * mu | 1 - momentum) * mu[0] | running_mean | wrong
image | == "test" | == "eval" | test | batch statistics in test mode
image | x.mean(axis=0) | x.sum(axis=0) / 5 | out | N for m
layer | (dxhat * xhat).mean(axis=1 | (dxhat * xhat).mean(axis=0 | dx | wrong axis
layer | x.mean(axis=1 | x.mean(axis=0 | out | wrong axis
layer | x.var(axis=1 | x.var(axis=0 | out | wrong axis
layer | (dout * xhat).sum(axis=0) | (dout * xhat).mean(axis=0) | dgamma | mean for sum
image | len(dout) | 5 | dx | N for m
"""
EDITS = [row.split(" | ") for row in EDITS.strip().splitlines()]


@pytest.mark.parametrize(("norm", "old", "new", "first", "says"), EDITS)
def test_edits_are_graded(norm, old, new, first, says):
    sources = [inspect.getsource(f) for f in (forward, backward, *PAIRS[norm])]
    source, old, new = "\n".join(sources), old.replace("%", "\n"), new.replace("%", "\n")
    assert old in source
    names = {"np": np}
    exec(source.replace(old, new), names)
    graded = mg.study.grade(*(names[f.__name__] for f in PAIRS[norm]), norm)
    assert (str(graded.first), graded.right, bool(graded)) == (
        first,
        first == "None",
        first == "None",
    ), str(graded)
    assert says in str(graded) and first in graded._repr_html_() + "None"


def test_makemore_is_right_with_the_unbiased_variance():
    def unbiased(x, gamma, beta, bn_param):
        inv = (x.var(0, ddof=1) + 1e-5) ** -0.5
        raw = (x - x.mean(0)) * inv
        return gamma * raw + beta, (raw, inv, gamma)

    def gradients(dout, cache):
        raw, inv, gamma = cache
        n = len(raw)
        dx = gamma * inv / n * (n * dout - dout.sum(0) - n / (n - 1) * raw * (dout * raw).sum(0))
        return dx, (dout * raw).sum(0), dout.sum(0)

    graded = mg.study.grade(unbiased, gradients)
    assert graded.right
    assert [note[:10] for note in graded.notes] == ["Normalizes", "eps is 1e-", "No running"]


def test_errors():
    with refuses(ValueError, "grade: expected a norm out of batch, image, layer, got 'group'"):
        mg.study.grade(forward, backward, "group")
