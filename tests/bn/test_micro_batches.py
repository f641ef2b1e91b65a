"""Micro-batches give the gradients, the loss and the statistics of the whole batch."""

from __future__ import annotations

import sys
import tracemalloc
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from helpers import close, content, normal, refuses

import minigrad as mg
from minigrad import nn
from minigrad.kernels import pool
from minigrad.ops.random import generator

pytestmark = pytest.mark.usefixtures("backend")

F64 = {"dtype": np.float64}


class Net(nn.Module):
    """Batch norms in a chain, beside a shortcut, and one at two places."""

    def __init__(self, batch_norm=nn.BatchNorm, dropout=0.0, twice=True):
        rng = np.random.default_rng(0)
        self.first = nn.Linear(5, 6, rng=rng, dtype=np.float64)
        self.second = nn.Linear(6, 6, rng=rng, dtype=np.float64)
        self.last = nn.Linear(6, 3, rng=rng, dtype=np.float64)
        self.norm, self.shared, self.third = (batch_norm(6, dtype=np.float64) for _ in range(3))
        self.third = self.shared if twice else self.third
        self.dropout = nn.Dropout(dropout)
        for p in (self.norm.gamma, self.norm.beta, self.shared.gamma):
            p.data = mg.tensor(rng.uniform(0.5, 2, p.shape)).data

    def forward(self, x):
        h = self.dropout(mg.sigmoid(self.norm(self.first(x))))
        h = mg.sigmoid(self.shared(self.second(h)) + h)
        return self.last(mg.tanh(self.third(self.second(h))) + h)

    def loss(self, x, labels):
        return mg.softmax_cross_entropy(self(x), labels)


def batch(rng):
    return normal(rng, 12, 5) * 3 + 1, mg.tensor(rng.integers(0, 3, 12))


def cut(batch, *places):
    ends = pairwise([0, *places, len(batch[0])])
    return [tuple(t[a:b] for t in batch) for a, b in ends]


class Parallel(nn.Module):
    def __init__(self):
        self.a, self.b = (nn.BatchNorm(5, dtype=np.float64) for _ in range(2))

    def loss(self, x, labels):
        return (self.a(x) * self.b(x) ** 2).mean()


class Padded(nn.Module):
    """The last five examples are padding, in some cuts a whole micro-batch."""

    def __init__(self):
        self.a = nn.BatchNorm(5, dtype=np.float64)

    def loss(self, x, labels):
        return (self.a(x, mask=labels < 3) ** 3).sum() / (9 * len(x))


def frozen(**parts):
    net = Net(twice=False)
    net.loss(*batch(np.random.default_rng(8)))
    for bn in (net.norm, net.shared):
        bn.freeze(**parts)
    return net


NETS = {
    "batch norm": Net,
    "debiased": lambda: Net(nn.DebiasedBatchNorm),
    "renorm": lambda: Net(partial(nn.BatchRenorm, r_max=3.0, d_max=3.0), twice=False),
    "frozen": frozen,
    "frozen but moving": lambda: frozen(affine=False, moving=False),
    "parallel": Parallel,
    "padded": Padded,
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("places", [(6,), (5, 8), (1, 2, 11), ()])
def test_equal_the_whole_batch(rng, make, places):
    whole, micro, (x, labels) = make(), make(), batch(rng)
    if make is Padded:
        labels[7:] = 3
    for net in (whole, micro):  # so that the running statistics are not the initial ones
        net.loss(*batch(np.random.default_rng(9)))
    loss = whole.loss(x, labels)
    loss.backward()
    total = nn.micro_batch_backward(micro, micro.loss, cut((x, labels), *places))
    assert abs(total - loss.item()) < 1e-12
    for p, q in zip(whole.parameters(), micro.parameters(), strict=True):
        if p.requires_grad:
            close(q.grad, p.grad, 1e-12)
    for a, b in zip(whole.buffers(), micro.buffers(), strict=True):
        close(b, a, 1e-12)


def test_not_what_adding_up_gives():
    """The point of it: gradients of micro-batches by their own statistics do not add up to the whole's."""
    data = batch(np.random.default_rng(0))
    exact, naive = Net(), Net()
    nn.micro_batch_backward(exact, exact.loss, cut(data, 6))
    for x, labels in cut(data, 6):
        (naive.loss(x, labels) / 2).backward()
    assert np.abs(exact.norm.gamma.grad.numpy() - naive.norm.gamma.grad.numpy()).max() > 1e-3


def test_gradients_accumulate(rng):
    net, data = Net(), batch(rng)
    nn.micro_batch_backward(net, net.loss, cut(data, 4))
    once = [p.grad.numpy() for p in net.parameters()]
    nn.micro_batch_backward(net, net.loss, cut(data, 4))
    for p, g in zip(net.parameters(), once, strict=True):
        close(p.grad, 2 * g)


@pytest.mark.parametrize("own", [True, False])
def test_random_numbers(rng, own):
    """Each pass over a part drops the same, parts do not drop alike, and the generator goes on from the seeds."""
    g = np.random.default_rng(5)
    mg.manual_seed(5)
    model = nn.Sequential(nn.BatchNorm(3, **F64), nn.Dropout(0.5, g if own else None))
    x, seen = normal(rng, 6, 3), {0: set(), 1: set()}

    def loss(x, k):
        y = model(x)
        seen[k].add((y.numpy() == 0).tobytes())
        return (y**2).mean()

    nn.micro_batch_backward(model, loss, [(x, 0), (x, 1)])
    assert [len(masks) for masks in seen.values()] == [1, 1] and seen[0] != seen[1]
    expected = np.random.default_rng(5)
    expected.integers(2**63, size=2)
    assert (g if own else generator(None)).random() == expected.random()


def test_random_layers_see_the_same_numbers_in_every_pass(rng):
    """With dropout the loss is a function of the weights all the same: its gradient is checked against differences."""
    net, data = Net(dropout=0.4), cut(batch(rng), 5)

    def run():
        mg.manual_seed(1)
        net.zero_grad()
        with nn.hold_statistics():
            return nn.micro_batch_backward(net, net.loss, data)

    run()
    direction = rng.standard_normal(net.first.weight.shape)
    slope = float((net.first.weight.grad.numpy() * direction).sum())
    start, ends = net.first.weight.numpy(), []
    for sign in (1, -1):
        net.first.weight.data = mg.tensor(start + sign * 1e-6 * direction).data
        ends.append(run())
    assert abs((ends[0] - ends[1]) / 2e-6 - slope) < 1e-7


def test_one_micro_batch_in_memory(backend, monkeypatch):
    if backend != "numpy":
        pytest.skip("memory is measured where NumPy allocates it")
    monkeypatch.setattr(pool, "LARGE", sys.maxsize)
    net = nn.Sequential(nn.BatchNorm(50), nn.Sigmoid(), nn.BatchNorm(50), nn.Sigmoid())
    x = mg.tensor(np.random.default_rng(0).standard_normal((4000, 50)).astype(np.float32))

    def loss(x):
        return (net(x) ** 2).mean()

    peaks = []
    for step in [
        lambda: loss(x).backward(),
        lambda: nn.micro_batch_backward(
            net, loss, [(x[i : i + 200],) for i in range(0, 4000, 200)]
        ),
    ]:
        tracemalloc.start()
        step()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 4


def test_layers_in_eval_do_not_move(rng):
    bn = nn.BatchNorm(3, statistics="batch", **F64).eval()
    before = content(bn)
    nn.micro_batch_backward(bn, lambda x: (bn(x) ** 3).mean(), [(normal(rng, 6, 3),)] * 2)
    assert content(bn) == before


@pytest.mark.parametrize("first", [lambda n: n == 0, lambda n: n < 2])
def test_micro_batches_that_call_different_layers(rng, first):
    a, b, x = nn.BatchNorm(3, **F64), nn.BatchNorm(3, **F64), normal(rng, 4, 3)
    calls = iter(range(99))

    def loss(x):
        return ((a if first(next(calls)) else b)(x) ** 3).mean()

    with refuses(ValueError, "call different batch norms"):
        nn.micro_batch_backward(nn.Sequential(a, b), loss, [(x,), (x,)])


def test_micro_batches_that_call_fewer_layers(rng):
    a, b, x = nn.BatchNorm(3, **F64), nn.BatchNorm(3, **F64), normal(rng, 4, 3)
    for deep in ([True, False], [False, True]):
        with refuses(ValueError, "call different batch norms"):
            nn.micro_batch_backward(
                nn.Sequential(a, b),
                lambda x, more: (b(a(x)) if more else a(x)).sum(),
                [(x, more) for more in deep],
            )


@pytest.mark.parametrize("kind", [nn.BatchRenorm, nn.BatchNorm])
def test_statistics_that_move_between_two_calls(rng, kind):
    bn = kind(3, **F64)
    bn(normal(rng, 4, 3))
    if kind is nn.BatchNorm:
        bn.freeze(affine=False, moving=False)
    with refuses(ValueError, f"{kind.__name__} is called twice and normalizes by its running st"):
        nn.micro_batch_backward(bn, lambda x: bn(bn(x)).sum(), [(normal(rng, 4, 3),)])


def test_virtual_batches_are_not_merged(rng):
    ghost = nn.GhostBatchNorm(3, 3, **F64)
    with refuses(ValueError, "virtual batches have statistics of their own, which are not merged"):
        nn.micro_batch_backward(ghost, lambda x: ghost(x).sum(), [(normal(rng, 6, 3),)])


def test_failures_change_nothing(rng):
    net, data = Net(), batch(rng)
    other = nn.Sequential(nn.BatchNorm(5, **F64), nn.BatchNorm(5, center=False, scale=False))
    net.other, x = other, data[0]
    before = content(net)
    spoiled = data[0].numpy()
    spoiled[7] = np.nan
    short = cut(data, 5)
    calls = iter(range(100))

    def fickle(x, labels):
        return net.loss(x, labels) if next(calls) % 2 else (net.first(x) ** 2).mean()

    for error, words, loss, batches in [
        (ValueError, "expected at least one micro-batch, got none", net.loss, []),
        (ValueError, "NaN or Inf", net.loss, cut((mg.tensor(spoiled), data[1]), 5)),
        (ValueError, "call different batch norms", fickle, short),
        (ValueError, "for weight (6, 5)", net.loss, [short[0], (short[1][0][:, :4], short[1][1])]),
        (
            TypeError,
            "BatchNorm 'other.1': x is float64 and the running statistics float32",
            lambda x: other(x).sum(),
            [(x,)],
        ),
        (ValueError, "a Tensor with one element, got shape (12, 5)", other[0], [(x,)]),
        (TypeError, "expected micro-batches as tuples", lambda x: other(x).sum(), [x]),
    ]:
        with refuses(error, words):
            nn.micro_batch_backward(net, loss, batches)
        assert content(net) == before
        assert all(p.grad is None for p in net.parameters())
