"""Random small networks, trained: replays and eager code leave the same bits, step after step."""

import numpy as np
import pytest
from helpers import content

import minigrad as mg
from minigrad import nn, optim

CASES, STEPS = 40, 6


class Residual(nn.Module):
    """x plus what a layer makes of it; the layer is called twice, so its gradients add up."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return x + self.layer(self.layer(x))


class Parts(nn.Module):
    """Views of x, used after it is gone."""

    def forward(self, x):
        half = x[:, : x.shape[1] // 2]
        return mg.concatenate([mg.relu(x)[:, half.shape[1] :], half.transpose(0, 1).T.T], axis=1)


def norm(rng, features):
    options = {
        "momentum": [None, 0.9, 0.0][rng.integers(3)],
        "ddof_norm": int(rng.integers(2)),
        "ddof_running": int(rng.integers(2)),
        "center": bool(rng.integers(2)),
        "scale": bool(rng.integers(2)),
        "on_nonfinite": ["raise", "skip"][rng.integers(2)],
    }
    layer = nn.BatchNorm(features, **options)
    if rng.integers(6) == 0:
        layer.freeze(affine=bool(rng.integers(2)), moving=True, normalizing=bool(rng.integers(2)))
    return layer


def element_by_element(rng):
    draws = np.random.default_rng(int(rng.integers(9)))
    layers = [nn.Sigmoid, nn.ReLU, nn.Tanh, lambda: nn.Dropout(0.3, rng=draws)]
    return layers[rng.integers(len(layers))]()


def network(rng):
    """A network, and the shape of an example."""
    layers, bias = [], lambda: bool(rng.integers(2))
    images = rng.integers(3)  # axes beyond the channels
    features = int(rng.integers(2, 7))
    shape = (features, *[(), (9,), (8, 7)][images])
    if images:
        layer = [None, nn.Conv1d, nn.Conv2d][images]
        for _ in range(rng.integers(1, 3)):
            wide = int(rng.integers(1, 7))
            layers.append(layer(features, wide, 3, padding=1, bias=bias()))
            features = wide
            layers += [norm(rng, wide)] * bool(rng.integers(3)) + [element_by_element(rng)]
            if rng.integers(3) == 0:
                layers.append(Residual(layer(wide, wide, 1, bias=bias())))
        if images == 2 and rng.integers(2):
            layers.append([nn.MaxPool2d, nn.AvgPool2d][rng.integers(2)](2))
        layers.append(nn.Flatten())
        with mg.no_grad(), nn.hold_statistics():
            features = nn.Sequential(*layers)(mg.ones((2, *shape))).shape[1]
    for _ in range(rng.integers(3)):
        wide = int(rng.integers(2, 40))
        layers.append(nn.Linear(features, wide, bias=bias()))
        layers += [norm(rng, wide)] * bool(rng.integers(3)) + [element_by_element(rng)]
        layers += [Residual(nn.Linear(wide, wide))] * int(rng.integers(4) == 0)
        layers += [Parts()] * int(rng.integers(4) == 0)
        features = wide
    return nn.Sequential(*layers, nn.Linear(features, 3, bias=bias())), shape


def optimizers(rng, parameters):
    """One or two, and some parameters that none moves."""
    some = [p for p in parameters if rng.integers(8)] or parameters
    cut = int(rng.integers(len(some)))
    for part in filter(None, (some[:cut], some[cut:])):
        yield [
            lambda ps: optim.SGD(ps, lr=0.1, weight_decay=0.01),
            lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=bool(rng.integers(2))),
            lambda ps: optim.Adam(ps, lr=0.01),
        ][rng.integers(3)](part)


def trained(seed, wrap):
    """All that training leaves behind, in each step."""
    mg.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, shape = network(rng)
    movers = list(optimizers(rng, model.parameters()))
    passes = int(rng.integers(1, 3))

    def step(*data):
        for mover in movers:
            mover.zero_grad()
        results = []
        for x, t in zip(data[::2], data[1::2], strict=True):
            y = model(x)
            loss = mg.softmax_cross_entropy(y, t)
            loss.backward()
            with mg.no_grad():
                results += [loss, y[0], y, y.T]
        for mover in movers:
            mover.step()
        return results

    # Several sizes: kernels differ for few and for many rows.
    n = [2, 5, 33][rng.integers(3)]
    data = []
    for _ in range(STEPS):
        pairs = [
            (rng.standard_normal((n, *shape)).astype("f"), rng.integers(3, size=n))
            for _ in range(passes)
        ]
        data.append([mg.tensor(a) for pair in pairs for a in pair])
    step = wrap(step, data[0])
    found, kept = [], []
    for i, batch in enumerate(data):
        movers[0].lr = 0.1 / (i + 1)
        for p in model.parameters():  # those that no optimizer moves would add theirs up
            if p.requires_grad:
                p.grad = None
        kept.append([*step(*batch), *(p.grad for p in model.parameters())])
        states = [mover.state_dict().items() for mover in movers]
        state = {name: a.tobytes() for items in states for name, a in items}
        found.append((content(model), state))
    # Looked at in the end: no replay may have written into the results of another.
    results = [[None if t is None else t.numpy().tobytes() for t in step] for step in kept]
    return found, results


@pytest.mark.filterwarnings("ignore:.*eval with running statistics")
@pytest.mark.parametrize("seed", range(CASES))
def test_replays_leave_what_eager_code_leaves(seed):
    eager = trained(seed, lambda step, data: step)
    captured = trained(seed, lambda step, data: mg.capture(step, *data))
    assert captured == eager
    if seed % 4 == 0:
        assert trained(seed, lambda step, data: mg.jit(step)) == eager
