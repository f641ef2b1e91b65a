"""PyTorch's own sample inputs (``op_db``): value, gradient and second derivative in float64, to 1e-10.

``op_db`` is private to PyTorch, written for its own tests: the extra ``oracles`` pins the version that this was
written for. Samples that ask for what minigrad does not offer are counted by reason in pytest's summary.
"""

from __future__ import annotations

import warnings
import zlib
from collections import Counter

import numpy as np
import pytest
from helpers import device
from oracles.adapters import ADAPTERS, Unsupported

import minigrad as mg

pytestmark = pytest.mark.usefixtures("backend")

TOLERANCE = 1e-10


@pytest.mark.parametrize("name", ADAPTERS)
def test_samples(torch, op_db, name, record_property):
    op = op_db[name]
    torch.manual_seed(0)
    left_out, failures, ran = Counter(), [], 0
    for i, sample in enumerate(op.sample_inputs("cpu", torch.float64, requires_grad=True)):
        try:
            compare(torch, op, sample, ADAPTERS[name], zlib.crc32(f"{name} {i}".encode()))
            ran += 1
        except Unsupported as reason:
            left_out[str(reason)] += 1
        except Exception as error:
            failures.append(
                f"sample {i}, {described(torch, sample)}:\n{type(error).__name__}: {error}"
            )
    record_property("op_db", {"ran": ran, "left out": dict(left_out)})
    assert not failures, f"{len(failures)} of {ran + len(failures)} samples:\n" + "\n".join(
        failures
    )
    assert ran, f"no sample ran: {dict(left_out)}"


def agrees(ours, theirs):
    """Equal shapes, values within the tolerance, and NaN and infinities in the same places."""
    a = ours.numpy() if isinstance(ours, mg.Tensor) else ours
    assert a.shape == theirs.shape
    np.testing.assert_allclose(a, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def compare(torch, op, sample, ours, seed):
    """The outputs, their gradients g for random cotangents u, and the gradients of <g, w> for random w."""
    leaves: dict[int, tuple] = {}  # by PyTorch's id: a tensor that is given twice stays one
    args = [converted(torch, a, leaves) for a in (sample.input, *sample.args)]
    kwargs = {name: converted(torch, a, leaves) for name, a in sample.kwargs.items()}
    with np.errstate(all="ignore"):
        ys = listed(ours(*args, **kwargs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = listed(op(sample.input, *sample.args, **sample.kwargs))
    assert len(ys) == len(expected)
    checked = [(y, e) for y, e in zip(ys, expected, strict=True) if y is not None]
    for y, e in checked:
        if isinstance(e, torch.Tensor):
            assert y.dtype == dtype_of(e.dtype)
            agrees(y, array_of(e))
        else:
            assert (type(y), y) == (type(e), e)
    smooth = [(y, e) for y, e in checked if isinstance(e, torch.Tensor) and e.requires_grad]
    inputs = [(t, x) for t, x in leaves.values() if t.requires_grad]
    if smooth:
        with np.errstate(all="ignore"):
            compare_gradients(torch, smooth, inputs, op.supports_gradgrad, seed)


def compare_gradients(torch, outputs, inputs, twice, seed):
    rng = np.random.default_rng(seed)
    (ys, expected), (ts, xs) = zip(*outputs, strict=True), zip(*inputs, strict=True)
    us, vs = random_like(torch, rng, expected, requires_grad=True)
    gs = gradients(ys, xs, us)
    hs = torch.autograd.grad(expected, ts, vs, create_graph=twice, allow_unused=True)
    agree(gs, hs, ts)
    deep = [(g, h) for g, h in zip(gs, hs, strict=True) if twice and h is not None]
    deep = [(g, h) for g, h in deep if h.requires_grad]
    if deep:
        gs, hs = zip(*deep, strict=True)
        ws, zs = random_like(torch, rng, hs)
        again = torch.autograd.grad(hs, [*ts, *vs], zs, allow_unused=True)
        agree(gradients(gs, [*xs, *us], ws), again, [*ts, *vs])


def gradients(ys, xs, us):
    """``mg.grad``, with None for inputs that nothing depends on."""
    pairs = [(y, u) for y, u in zip(ys, us, strict=True) if y is not None and y.requires_grad]
    if not pairs:
        return [None] * len(xs)
    ys, us = zip(*pairs, strict=True)
    return mg.grad(ys, xs, us, create_graph=True, allow_unused=True)


def agree(ours, theirs, like):
    """None is as good as zeros."""
    for g, h, t in zip(ours, theirs, like, strict=True):
        zeros = np.zeros(t.shape)
        agrees(zeros if g is None else g, zeros if h is None else array_of(h))


def random_like(torch, rng, tensors, requires_grad=False):
    """Random tensors of the same shapes and dtypes, minigrad's and PyTorch's."""
    arrays = [np.asarray(rng.standard_normal(t.shape), dtype_of(t.dtype)) for t in tensors]
    ours = [mg.tensor(a, requires_grad=requires_grad) for a in arrays]
    return ours, [torch.tensor(a, requires_grad=requires_grad) for a in arrays]


def converted(torch, value, leaves):
    """A sample's argument for minigrad: tensors with their strides, dtypes as NumPy's, the rest as it is."""
    if isinstance(value, torch.Tensor):
        if id(value) not in leaves:
            x = mg.Tensor(device(value.detach().numpy()))
            x.requires_grad = value.requires_grad
            leaves[id(value)] = value, x
        return leaves[id(value)][1]
    if isinstance(value, torch.dtype):
        return dtype_of(value)
    if isinstance(value, (list, tuple)):
        kind = list if isinstance(value, list) else tuple
        return kind(converted(torch, v, leaves) for v in value)
    return value


def array_of(t):
    """A tensor of PyTorch's as an array; its lazy zeros too."""
    return t.detach().numpy(force=True)


def dtype_of(dtype):
    """PyTorch's dtype as NumPy's."""
    return np.dtype(str(dtype).removeprefix("torch."))


def listed(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


def described(torch, sample):
    """A sample's arguments, tensors by their shape and dtype."""

    def text(value):
        if isinstance(value, torch.Tensor):
            return f"{dtype_of(value.dtype)}{list(value.shape)}"
        if isinstance(value, (list, tuple)):
            return f"({', '.join(map(text, value))})"
        return repr(value)

    named = [f"{name}={text(v)}" for name, v in sample.kwargs.items()]
    return ", ".join([*map(text, (sample.input, *sample.args)), *named])
