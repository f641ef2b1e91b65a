"""Changes in place: what they change, what they refuse, and that the tape and captures see them."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from helpers import close, device, equal, leaf, refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

OPERATORS = ["iadd", "isub", "imul", "itruediv", "ipow"]
OTHERS = {
    "int": 3,
    "float": 2.5,
    "float64": np.float64(2.5),
    "array": lambda: device(np.array([1.0, 2.0])),
    "list": [1, 2],
    "tensor": lambda: mg.tensor([1, 2]),
    "wide": lambda: mg.full(2, 1.5, dtype="float64"),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_operators_change_what_no_op_recorded(name, other, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    t = same = mg.tensor([2, 3], dtype=dtype)
    memory, other = t._data, other() if callable(other) else other
    t = getattr(operator, name)(t, other)
    assert t is same and t._data is memory and t.dtype == mg.ones(1, dtype=dtype).dtype
    equal(t, getattr(operator, name[1:])(mg.tensor([2, 3], dtype=dtype), other).astype(dtype))


def test_products_change_what_no_op_recorded(rng):
    t = same = mg.tensor(rng.standard_normal((3, 3)))
    expected = t @ t.T
    t @= t.T
    assert t is same
    equal(t, expected)


@pytest.mark.parametrize("shape", [(0,), (2, 0), ()])
def test_any_shape(shape):
    t = mg.zeros(shape)
    t += 2
    t *= mg.full(shape, 3)
    equal(t, np.full(shape, 6))


def test_parameters_buffers_and_gradients(rng):
    model = nn.Sequential(nn.Linear(3, 2, rng=rng), nn.BatchNorm(2))
    weight, gamma = model[0].weight, model[1].gamma
    model(mg.tensor(rng.standard_normal((4, 3)), dtype="float32")).sum().backward()
    before, gradient = weight.numpy(), weight.grad.numpy()
    weight.grad *= 0.5
    with mg.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
        model[1].gamma *= 2
    model[1].running_mean += 1
    assert model[0].weight is weight and model[1].gamma is gamma and weight.requires_grad
    assert [p for p in model.parameters() if p is weight]
    equal(weight.grad, gradient * np.float32(0.5))
    close(weight, before - 0.1 * gradient * np.float32(0.5), 1e-6)
    equal(model.state_dict()["0.weight"], weight)


def test_views_share_memory_and_versions():
    x, w = mg.zeros((2, 3)), leaf(np.ones((2, 3)), np.float32)
    y = (x * w).sum()
    row, flat = x[0], x.reshape(-1)
    row += 1
    x.T[2] *= 5
    x[1, 1] -= 2
    x[1, 0] = 7
    for element in x[1]:
        element /= 2
    equal(x, [[1, 1, 5], [3.5, -1, 0]])
    equal(flat, x.reshape(-1))
    d = w.detach()
    d += 1
    equal(w, np.full((2, 3), 2))
    with refuses(RuntimeError, "was changed in place after the forward pass used it"):
        y.backward()


def test_overlapping_memory(rng):
    a = rng.standard_normal((4, 4))
    x = mg.tensor(a)
    x += x.T
    equal(x, a + a.T)
    x.copy_(x[:, ::-1].T)
    equal(x, (a + a.T)[:, ::-1].T)
    x -= x
    equal(x, np.zeros((4, 4)))
    line = mg.arange(5)
    line[1:].copy_(line[:-1])
    equal(line, [0, 0, 1, 2, 3])


def test_what_needs_a_gradient_is_recorded():
    w = leaf([2.0], np.float32)
    total = start = mg.zeros(())
    for _ in range(2):
        total += (w * 3).sum()
    total.backward()
    equal(w.grad, [6])
    equal(start, 0)
    h = before = w * 2
    h += w
    h *= 3
    equal(before, [4])
    h.backward()
    equal(w.grad, [6 + 9])
    with mg.no_grad():
        g = before
        g += 1
    equal(before, [4])
    assert g is not before


@pytest.mark.parametrize("name", OPERATORS)
def test_a_leaf_with_a_gradient_only_under_no_grad(name):
    t = leaf([1.0])
    with refuses(RuntimeError, "only under minigrad.no_grad()"):
        getattr(operator, name)(t, 2)
    with refuses(RuntimeError, "only under minigrad.no_grad()"):
        t += leaf([1.0])
    equal(t, [1])


def test_wrapped_memory_is_the_callers():
    array = np.zeros(3)
    wrapped, copied = mg.Tensor(array), mg.tensor(array)
    wrapped += 1
    copied += 5
    np.testing.assert_array_equal(array, [1, 1, 1])


@pytest.mark.parametrize(
    "source",
    [2, np.int64(2), [2, 2, 2], np.full(3, 2.0), np.full((2, 1), 2), np.float32(2)],
    ids=repr,
)
def test_copies_of_anything_that_broadcasts(source):
    t = mg.zeros((2, 3))
    assert t.copy_(source) is t
    equal(t, np.full((2, 3), 2))


def test_copies_from_another_backend_and_into_parameters(backend):
    t, p = mg.zeros(2), nn.Parameter([1.0, 2.0])
    t.copy_(mg.ones(2, backend="numpy"))
    t.copy_(t * 3)
    with mg.no_grad():
        p.copy_(leaf([3.0, 4.0]))
    assert t.backend == backend and p.requires_grad and p.is_leaf
    equal(t, [3, 3])
    equal(p, [3, 4])


# --- captured ---


def training_step(model):
    def step(x, t):
        loss = mg.softmax_cross_entropy(model(x), t)
        loss.backward()
        with mg.no_grad():
            for p in model.parameters():
                p.grad *= 0.5
                p -= 0.1 * p.grad
                p.grad = None
        return loss

    return step


def test_a_training_step_by_hand_has_the_same_bits_captured(rng):
    def make():
        r = np.random.default_rng(1)
        return nn.Sequential(nn.Linear(5, 4, rng=r), nn.BatchNorm(4), nn.Sigmoid(), nn.Linear(4, 3))

    eager, jitted = make(), make()
    jitted.load_state_dict(eager.state_dict())
    first, second = training_step(eager), mg.jit(training_step(jitted))
    begin = eager[0].weight.numpy()
    for _ in range(5):
        x = mg.tensor(rng.standard_normal((8, 5)), dtype="float32")
        t = mg.tensor(rng.integers(0, 3, 8))
        equal(first(x, t), second(x, t))
        for name, a in eager.state_dict().items():
            np.testing.assert_array_equal(jitted.state_dict()[name], a, err_msg=name)
    assert (eager[0].weight.numpy() != begin).any()


def accumulate(x):
    with mg.no_grad():
        total, acc = mg.zeros(()), mg.zeros(3)
        kept = acc * 2
        for i in range(3):
            total += (x * i).sum()
        acc += 1
        acc *= x
        h = (x * 2).reshape(1, 3)
        h += 1
        base = x * 3
        view = base[:2]
        base += 10
        view *= 2
        last = (x + 1).reshape(3, 1)
        flat = last.reshape(3)
        last -= 1
        part = mg.zeros(3) * 1
        part[:2] += x[:2]
        moved = x * 2
        moved += 1
        return total, acc, kept, h, base, view, flat, part, moved * 3


@pytest.mark.parametrize("passes", [(), ("prune",), ("fold_constants",)])
def test_captured_tensors_of_the_functions_own(passes):
    x = mg.tensor([1, 2, 3])
    graph = mg.capture(accumulate, mg.ones(3))
    for name in passes:
        graph = getattr(graph, name)()
    for _ in range(3):
        for found, expected in zip(graph(x), accumulate(x), strict=True):
            equal(found, expected)


def changed_argument(x):
    x += 1
    return x


def changed_view(x):
    y = x.reshape(1, 3)
    y *= 2
    return x


@pytest.mark.parametrize(
    ("function", "what"), [(changed_argument, "x"), (changed_view, "a view of x")]
)
def test_captures_refuse_to_change_arguments(function, what):
    with refuses(mg.CaptureError, f"assign changes {what} in place; a graph may only change"):
        mg.capture(function, mg.ones(3))


def test_captures_refuse_to_change_a_part_of_a_parameter():
    layer = nn.Linear(2, 2)

    def function(x):
        with mg.no_grad():
            layer.weight[0] = 0
        return layer(x)

    before = layer.weight.numpy()
    with refuses(mg.CaptureError, "changes a view of weight in place"):
        mg.capture(lambda x: (layer(x), function(x))[1], mg.ones((1, 2)))
    assert layer.weight.shape == before.shape
