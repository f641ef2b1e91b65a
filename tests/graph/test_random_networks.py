"""Random small networks, trained: replays and eager code leave the same bits, step after step."""

from functools import partial

import numpy as np
import pytest
from helpers import content

import minigrad as mg
from minigrad import nn, optim

CASES, STEPS = 40, 6


class Residual(nn.Module):
    """Adds a layer's output to its input; the layer is called twice, so its gradients add up."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return x + self.layer(self.layer(x))


class Parts(nn.Module):
    """Views of x that outlive it."""

    def forward(self, x):
        half = x[:, : x.shape[1] // 2]
        return mg.concatenate([mg.relu(x)[:, half.shape[1] :], half.transpose((0, 1)).T.T], axis=1)


def norm(rng, features):
    pick = rng.choice
    layer = nn.BatchNorm(
        features,
        momentum=[None, 0.9, 0.0][pick(3)],
        on_nonfinite=["raise", "skip"][pick(2)],
        **{name: int(pick(2)) for name in ("ddof_norm", "ddof_running")},
        **{name: bool(pick(2)) for name in ("center", "scale")},
    )
    if pick(6) == 0:
        layer.freeze(affine=bool(pick(2)), moving=True, normalizing=bool(pick(2)))
    return layer


def block(rng, layer, features, wide):
    """A layer, perhaps with a batch norm before its activation, and perhaps a residual connection."""
    draws = np.random.default_rng(int(rng.integers(9)))
    activations = [nn.Sigmoid(), nn.ReLU(), nn.Tanh(), nn.Dropout(0.3, rng=draws)]
    norms = [norm(rng, wide)] if rng.integers(3) else []
    residual = [] if rng.integers(3) else [Residual(layer(wide, wide))]
    first = layer(features, wide, bias=bool(rng.integers(2)))
    return [first, *norms, activations[rng.integers(4)], *residual]


def network(rng):
    """A network, and the shape of an example."""
    features, layers = int(rng.integers(2, 7)), []
    images = rng.integers(3)  # axes beyond the channels
    shape = (features, *[(), (9,), (8, 7)][images])
    if images:
        layer = partial([nn.Conv1d, nn.Conv2d][images - 1], kernel_size=3, padding=1)
        for _ in range(rng.integers(1, 3)):
            wide = int(rng.integers(1, 7))
            layers += block(rng, layer, features, wide)
            features = wide
        if images == 2 and rng.integers(2):
            layers.append([nn.MaxPool2d, nn.AvgPool2d][rng.integers(2)](2))
        layers.append(nn.Flatten())
        with mg.no_grad(), nn.hold_statistics():
            features = nn.Sequential(*layers)(mg.ones((2, *shape))).shape[1]
    for _ in range(rng.integers(3)):
        wide = int(rng.integers(2, 40))
        layers += block(rng, nn.Linear, features, wide) + [Parts()] * int(rng.integers(4) == 0)
        features = wide
    return nn.Sequential(*layers, nn.Linear(features, 3, bias=bool(rng.integers(2)))), shape


def optimizers(rng, parameters):
    """One or two, and some parameters that are in neither."""
    some = [p for p in parameters if rng.integers(8)] or parameters
    cut = int(rng.integers(len(some)))
    for part in filter(None, (some[:cut], some[cut:])):
        yield [
            lambda ps: optim.SGD(ps, lr=0.1, weight_decay=0.01),
            lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=bool(rng.integers(2))),
            lambda ps: optim.Adam(ps, lr=0.01),
        ][rng.integers(3)](part)


def trained(seed, wrap):
    """Parameters, buffers, optimizer state, results and gradients of each step, as bytes."""
    mg.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, shape = network(rng)
    movers = list(optimizers(rng, model.parameters()))

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
    n, passes = [2, 5, 33][rng.integers(3)], int(rng.integers(1, 3))
    data = []
    for _ in range(STEPS):
        batch = [(rng.standard_normal((n, *shape)), rng.integers(3, size=n)) for _ in range(passes)]
        data.append([mg.tensor(a) for x, t in batch for a in (x.astype("f"), t)])
    step = wrap(step, data[0])
    found, kept = [], []
    for i, batch in enumerate(data):
        movers[0].lr = 0.1 / (i + 1)
        for p in model.parameters():  # gradients of those in no optimizer would add up
            if p.requires_grad:
                p.grad = None
        kept.append([*step(*batch), *(p.grad for p in model.parameters())])
        states = [mover.state_dict().items() for mover in movers]
        found.append((content(model), {n: a.tobytes() for items in states for n, a in items}))
    # Read in the end: no replay may have written into the results of another.
    return found, [[None if t is None else t.numpy().tobytes() for t in step] for step in kept]


@pytest.mark.filterwarnings("ignore:.*running statistics")
@pytest.mark.parametrize("seed", range(CASES))
def test_replays_leave_what_eager_code_leaves(seed):
    eager = trained(seed, lambda step, data: step)
    captured = trained(seed, lambda step, data: mg.capture(step, *data))
    assert captured == eager
    if seed % 4 == 0:
        assert trained(seed, lambda step, data: mg.jit(step)) == eager
