"""Memory of results: estimated by hand, and replays take less than eager code."""

import tracemalloc

import pytest
from graph.shared import step_of

import minigrad as mg
from minigrad import nn, optim
from minigrad.graph.replay import Replay

#: functions of 1,000 numbers, which take 4,032 bytes of whole cache lines, and how many of those are needed at once
PEAKS = {
    "chain": (lambda x: ((x * 2 + 1) / 3).sum(), 2),  # an operand and a result
    "results": (lambda x: (x * 2, x + 1, x / 3), 3),
    "views": (lambda x: (x * 2).reshape(10, 100).T, 1),
    "nothing": (lambda x: x, 0),
}


@pytest.mark.parametrize(("function", "arrays"), PEAKS.values(), ids=PEAKS)
def test_peak_bytes(function, arrays):
    graph = mg.capture(function, mg.ones(1000))
    assert graph.peak_bytes() == arrays * 4032
    assert f"results in memory at once: {arrays * 4032:,} bytes" in str(graph)


def peak_of(step, *batch):
    for _ in range(4):
        step(*batch)
    tracemalloc.start()
    step(*batch)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_a_replay_takes_less_than_eager_code(backend, rng):
    """Arrays are smaller than what the pool keeps, so that all of them are counted.

    What eager code holds at most is what its backward pass needs, and so does a replay; but a recording writes results
    over what is not needed any more.
    """
    layers = []
    for _ in range(6):
        layers += [nn.Linear(50, 50, bias=False), nn.BatchNorm(50), nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(50, 5))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = mg.tensor(rng.standard_normal((400, 50)).astype("f"))
    batch = x, mg.tensor(rng.integers(5, size=400))
    step = step_of(model, optimizer)
    eager = peak_of(step, *batch)
    graph = mg.capture(step, *batch)
    replayed = peak_of(graph, *batch)
    if not isinstance(graph._plan, Replay):
        assert replayed < 1.01 * eager
    else:
        # What the replay allocates itself, its gradients, is part of the plan.
        assert replayed < 0.1 * eager
        assert sum(block.nbytes for block in graph._plan.blocks) < 1.02 * eager
    assert graph.peak_bytes() < 1.01 * eager
