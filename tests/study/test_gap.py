"""The gap between batch and running statistics: by hand, by chance, and when it is wide."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import content, refuses

import minigrad as mg
from minigrad import nn
from minigrad.study import gap, hints

pytestmark = pytest.mark.usefixtures("backend")


def test_by_hand():
    bn = nn.BatchNorm(2, eps=1e-12, dtype=np.float64)
    bn.running_mean.data = mg.tensor([1.0, 2.0], dtype=np.float64).data
    bn.running_var.data = mg.tensor([4.0, 1.0], dtype=np.float64).data
    batches = [np.array([[0.0, 0.0], [2.0, 4.0]]), np.array([[3.0, 1.0], [7.0, 3.0]])]
    (found,) = gap(bn, batches)
    # Means 1, 2 and 5, 2; unbiased variances 2, 8 and 8, 2.
    assert found.mean == pytest.approx(np.sqrt((2**2) / 4))
    logs = np.log([2 / 4, 8 / 1, 8 / 4, 2 / 1])
    assert found.var == pytest.approx(np.sqrt(np.mean(logs**2)))
    assert (found.name, found.mean_noise) == ("BatchNorm", pytest.approx(np.sqrt(1 / 2)))
    # The logarithm of a chi-squared variable with one degree of freedom has mean -1.27 and variance pi^2 / 2.
    assert found.var_noise == pytest.approx(np.hypot(1.27, np.pi / np.sqrt(2)), rel=0.05)


def test_chance_alone_is_not_wide(rng):
    """Both measures of Gaussian batches are what the size of the batches makes them."""
    model = nn.Sequential(nn.Linear(4, 50, dtype=np.float64), nn.BatchNorm(50, dtype=np.float64))
    nn.population_statistics(model, [rng.standard_normal((20_000, 4))], "total")
    (found,) = gap(model, [rng.standard_normal((100, 4)) for _ in range(200)])
    assert found.name == "1" and not found.wide and found.cause == ""
    assert found.mean == pytest.approx(found.mean_noise, rel=0.1)
    assert found.var == pytest.approx(found.var_noise, rel=0.1)


def test_every_layer_in_order_and_nothing_changes(rng):
    norms = [nn.BatchNorm(3, momentum=m, dtype=np.float64) for m in (0.99, 0.0, 0.0)]
    model = nn.Sequential(*norms, nn.Dropout(0.5))
    x = rng.standard_normal((64, 3)) + 5
    model(mg.tensor(x))
    norms[2].freeze()
    before = content(model)
    found = gap(model, [(x, "labels")])
    assert [g.name for g in found] == ["0", "1"]
    assert [g.wide for g in found] == [True, False]
    assert content(model) == before and all(m.training for m in model.modules())
    lines = str(found).split("\n")
    assert len(lines) == 3 and "by chance" in lines[0]
    assert [line.split(":")[0].split()[5:] for line in lines[1:]] == [["lag"], []]


def trained(rng, steps, m, momentum=0.9, extra=0):
    """A network after training on batches of m values with mean 0, and then ``extra`` forward passes at mean 1."""
    model = nn.Sequential(nn.Linear(4, 16, rng=rng), nn.BatchNorm(16, momentum=momentum))
    optimizer = mg.optim.SGD(model.parameters(), lr=1e-3)
    for x in batches(rng, steps, m, 0):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
    with mg.no_grad():
        for x in batches(rng, extra, m, 1):
            model(x)
    return model


def batches(rng, k, m, shift):
    return [mg.tensor((rng.standard_normal((m, 4)) + shift).astype("f")) for _ in range(k)]


CAUSES = {
    "never trained": ({"steps": 0}, 1, "lag: the running statistics are the initial ones"),
    "few steps": ({"steps": 8, "momentum": 0.99}, 0, "lag: 92% of the initial values are left at step 8"),
    "not moving": ({"steps": 8, "momentum": 1.0}, 0, "lag: the running statistics are the initial ones"),
    "other data": ({"steps": 100}, 1, "another population"),
    "other data, plain average": ({"steps": 100, "momentum": None}, 1, "another population"),
    "no eval()": ({"steps": 100, "extra": 20}, 0, "forgotten eval()"),
    "the same data": ({"steps": 100}, 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("m", [2, 64])
@pytest.mark.parametrize("name", CAUSES)
def test_causes(rng, name, m):
    """At batch size 2 too, where many batches tell what few of 64 do."""
    settings, shift, cause = CAUSES[name]
    (found,) = gap(trained(rng, m=m, **settings), batches(rng, 1000 // m, m, shift))
    small = m == 2 and not cause
    assert found.cause.startswith("small batches: their means are off by 0.7" if small else cause)
    assert bool(found.cause) == (small or bool(cause)) and found.wide == bool(cause)


def test_sorted_batches(rng):
    model = trained(rng, 200, 64)
    (x,) = batches(rng, 1, 1280, 0)
    (found,) = gap(model, np.split(x.numpy()[x.numpy()[:, 0].argsort()], 20))
    assert found.cause.startswith("uneven batches: their means are off by 0.") and found.wide


@pytest.mark.parametrize(
    ("model", "batches"), [(nn.BatchNorm(3), []), (nn.ReLU(), [np.ones((2, 3))])]
)
def test_nothing_to_compare(model, batches):
    with refuses(ValueError, "gap: no batch came to a batch norm"):
        gap(model, batches)


class Branches(nn.Sequential):
    def forward(self, x):
        x = self[0](x)
        return self[1](x) + x


BIASES = {
    "linear": (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3)), ["0.bias does nothing: 1"]),
    "convolution": (nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm(3)), ["0.bias does nothing: 1"]),
    "no bias": (nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm(3)), []),
    "something between": (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm(3)), []),
    "frozen": (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(3).freeze()), []),
    "other channels": (nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm(2, axis=-1)), []),
    "its sum is used elsewhere": (Branches(nn.Linear(4, 3), nn.BatchNorm(3)), []),
}


@pytest.mark.parametrize("name", BIASES)
def test_hints_about_biases(name):
    model, expected = BIASES[name]
    model.to(mg.ones(1).backend)
    before = content(model)
    found = hints(model, mg.ones((5, 4) if isinstance(model[0], nn.Linear) else (5, 4, 2, 2)))
    assert [hint.split(" subtracts")[0] for hint in found] == expected and content(model) == before


def test_hints_about_updates_outside_of_training(rng):
    model = trained(rng, 3, 8)
    assert hints(model) == []
    with mg.no_grad(), nn.hold_statistics():
        model(mg.ones((5, 4)))
    nn.population_statistics(model, [np.ones((5, 4), "f")])
    assert hints(model.eval()) == []
    with mg.no_grad():
        model.train()(mg.ones((5, 4)))
    (hint,) = hints(model)
    assert hint.startswith("1: its running statistics were updated after the last step")
