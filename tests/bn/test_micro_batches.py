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

pytestmark = pytest.mark.usefixtures("backend")


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


RENORM = partial(nn.BatchRenorm, r_max=3.0, d_max=3.0)


@pytest.mark.parametrize(
    ("batch_norm", "twice"),
    [(nn.BatchNorm, True), (nn.DebiasedBatchNorm, True), (RENORM, False)],
)
@pytest.mark.parametrize("places", [(6,), (5, 8), (1, 2, 11), ()])
def test_equal_the_whole_batch(rng, batch_norm, twice, places):
    whole, micro = (Net(batch_norm, twice=twice) for _ in range(2))
    data = batch(rng)
    for net in (whole, micro):  # so that there is something to remember
        net.loss(*batch(np.random.default_rng(9)))
    loss = whole.loss(*data)
    loss.backward()
    total = nn.micro_batch_backward(micro, micro.loss, cut(data, *places))
    assert abs(total - loss.item()) < 1e-12
    for p, q in zip(whole.parameters(), micro.parameters(), strict=True):
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


def test_each_micro_batch_draws_numbers_of_its_own():
    model, kept = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), []

    def loss(x):
        y = model(x)
        kept.append(tuple(y.numpy().ravel() != 0))
        return y.sum()

    nn.micro_batch_backward(model, loss, [(mg.ones((4, 8)),), (mg.ones((4, 8)),)])
    assert len(kept) > 2 and kept[0] != kept[1]
    assert (set(kept[::2]), set(kept[1::2])) == ({kept[0]}, {kept[1]})


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


def test_frozen_layers_need_no_statistics(rng):
    net, other, data = Net(), Net(), batch(rng)
    for model in (net, other):
        model(data[0])
        model.norm.freeze()
    net.loss(*data).backward()
    nn.micro_batch_backward(other, other.loss, cut(data, 5))
    close(other.first.weight.grad, net.first.weight.grad)


def test_failures_change_nothing(rng):
    net, data = Net(), batch(rng)
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
    ]:
        with refuses(error, words):
            nn.micro_batch_backward(net, loss, batches)
        assert content(net) == before
        assert all(p.grad is None for p in net.parameters())
