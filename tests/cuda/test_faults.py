"""Asynchronous errors of kernels are raised at the next synchronization, and block updates until then."""

from __future__ import annotations

import numpy as np
import pytest
import strict
from graph.shared import step_of
from helpers import equal, refuses, settle

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("emulated")


def trained(make, rng):
    """A model and its optimizer after two steps, with a function that takes another."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3), nn.Linear(3, 2))
    optimizer = make(model.parameters())

    step = step_of(model, optimizer)
    batch = mg.tensor(rng.standard_normal((6, 4)).astype("f")), mg.tensor([0, 1] * 3).astype(int)
    for _ in range(2):
        step(*batch)
    return model, optimizer, step, batch


@pytest.mark.parametrize(
    "make",
    [
        lambda p: mg.optim.SGD(p, lr=0.1),
        lambda p: mg.optim.SGD(p, lr=0.1, momentum=0.9),
        mg.optim.Adam,
        mg.optim.AdamW,
        lambda p: mg.optim.RMSprop(p, momentum=0.9, weight_decay=0.1),
    ],
    ids=["SGD", "momentum", "Adam", "AdamW", "RMSprop"],
)
@pytest.mark.parametrize("bad", ["labels", "values"])
@pytest.mark.parametrize("captured", [False, True])
def test_a_bad_batch_moves_no_parameter(make, bad, captured, rng):
    model, optimizer, step, (x, t) = trained(make, rng)
    if captured:
        step = mg.capture(step, x, t)
        step(x, t), step(x, t)
    before = [p.numpy() for p in model.parameters()], optimizer.state_dict()
    worse = (x, t + 5) if bad == "labels" else (x * np.nan, t)
    words = (
        "labels 0 ... 1, got" if bad == "labels" else "batch norm over 3 channels: the batch has"
    )
    with refuses(ValueError, words):
        step(*worse)
    for p, value in zip(model.parameters(), before[0], strict=True):
        equal(p, value)
    for name, value in optimizer.state_dict().items():
        equal(value, before[1][name])
    step(x, t)  # works again
    assert (model.parameters()[0].numpy() != before[0][0]).any()


def test_an_error_is_raised_once():
    with refuses(ValueError, "got 7"):
        mg.softmax_cross_entropy(mg.zeros((2, 3)), mg.tensor([0, 7]).astype(int))
    settle()


def test_it_is_raised_before_the_next_replay(rng):
    _, _, step, (x, t) = trained(lambda p: mg.optim.SGD(p, lr=0.1), rng)
    step = mg.capture(step, x, t)
    step(x, t)
    step(x, t + 5)
    with pytest.raises(ValueError, match="labels"):
        step(x, t)


def test_it_is_raised_before_the_next_checked_kernel():
    mg.softmax_cross_entropy(mg.zeros((2, 3)), mg.tensor([0, -1]).astype(int))
    with pytest.raises(ValueError, match="got -1"):
        mg.softmax_cross_entropy(mg.zeros((2, 3)), mg.tensor([0, 1]).astype(int))


def test_a_batch_that_may_be_skipped_is_no_error(rng):
    norm = nn.BatchNorm(3, on_nonfinite="skip")
    norm(mg.tensor(rng.standard_normal((4, 3)).astype("f")) * np.nan)
    settle()
    assert norm.num_batches.item() == 0


def test_devices_have_their_own_errors(rng):
    """An error on one device, raised while another is current, blocks neither of them."""
    with strict.Device(1):
        _, _, step, batch = trained(lambda p: mg.optim.SGD(p, lr=0.1), rng)
        step(batch[0], batch[1] + 5)
    with pytest.raises(ValueError, match="labels"):
        settle()
    with strict.Device(1):
        losses = [step(*batch).item() for _ in range(2)]
    assert losses[1] < losses[0]
