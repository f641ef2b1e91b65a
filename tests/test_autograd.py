"""grad and backward: what they give, what they keep, what they free, and what they refuse."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from helpers import close, device, equal, error_table, leaf, normal, refuses

import minigrad as mg
from minigrad import backend as backends
from minigrad.op import Op
from minigrad.ops.arithmetic import ADD
from minigrad.ops.batch_norm import BatchNormGrad
from minigrad.tape import Leaf, Node, recording

pytestmark = pytest.mark.usefixtures("backend")


# --- gradients ---


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda x: (x + x).sum(), [2, 2]),
        (lambda x: (x * x * x).sum(), [12, 27]),
        (lambda x: ((x * 2) * (x * 3)).sum(), [24, 36]),
        (lambda x: x[0] + x.sum() + x.sum(), [3, 2]),
        (lambda x: mg.concatenate([x, x, x]).sum(), [3, 3]),
        (lambda x: (x - x).sum(), [0, 0]),
        (lambda x: (x * 1.5 + x.detach() * 100).sum(), [1.5, 1.5]),
    ],
)
def test_a_tensor_used_several_times_collects_from_all(fn, expected):
    x = leaf([2.0, 3.0])
    equal(mg.grad(fn(x), x), expected)
    fn(x).backward()
    equal(x.grad, expected)


def test_backward_adds_to_grad_and_leaves_the_old_one_as_it_was():
    x, unused, constant = leaf([1.0, 2.0]), leaf(1.0), mg.tensor(np.array([3.0, 3.0]))
    between = x * constant
    between.sum().backward()
    first = x.grad
    (x * x).sum().backward()
    equal(first, [3, 3])
    equal(x.grad, [5, 7])
    assert not x.grad.requires_grad
    assert (between.grad, constant.grad, unused.grad) == (None, None, None)


def test_grad_fills_nothing_and_frees_nothing():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    for _ in range(3):
        equal(mg.grad(y, x), [2, 4])
    assert x.grad is None
    y.backward()
    equal(x.grad, [2, 4])


def test_gradients_of_intermediate_values():
    x = leaf(2.0)
    a = x * x
    b = a * 3
    y = b * a
    assert [g.item() for g in mg.grad(y, [x, a, b, y])] == [96, 24, 4, 1]
    x.backward()
    assert x.grad.item() == 1


def test_several_outputs_add_up():
    x = leaf([1.0, 2.0])
    y, z = x * 2, (x * x).sum()
    u = mg.tensor(np.array([10.0, 20.0]))
    equal(mg.grad([y, z], x, [u, None]), [22, 44])
    equal(mg.grad((z, z), x), [4, 8])
    equal(mg.grad([z, y], x, [mg.tensor(np.array(2.0)), u]), [24, 48])
    one, same = mg.grad(z, [x, x])
    equal(one, same)
    assert isinstance(mg.grad(z, x), mg.Tensor)
    assert [type(mg.grad(z, form)) for form in ([x], (x,), [])] == [tuple] * 3


def test_unused_inputs():
    x, other = leaf([1.0, 2.0]), leaf(np.ones((2, 3)))
    y = x.sum()
    with refuses(ValueError, "grad: the outputs do not depend on input 1 of shape (2, 3)"):
        mg.grad(y, [x, other])
    used, unused, later = mg.grad(y, [x, other, y * 2], allow_unused=True)
    equal(used, [1, 1])
    assert unused is later is None


def test_gradients_that_nobody_asked_for_are_not_computed():
    asked = []

    class Asked(Product):
        def backward(self, node, needs, gy):
            asked.append([need is not None for need in needs])
            return gy, gy

    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    mg.grad(x.apply(Asked(), x, w).sum(), w)
    assert asked == [[False, True]]


def test_cotangents_are_differentiable_too():
    x, u = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    g = mg.grad(x * x, x, u, create_graph=True)
    equal(mg.grad(g.sum(), u), [2, 4])


NEEDED = "expected a gradient for an output of shape (2,); only an output with one element has a default, 1"
EXPECTED = "expected a gradient of shape (2,) and dtype float64, got"


@error_table(
    {
        "missing": (ValueError, "grad: " + NEEDED, lambda ys, x: mg.grad(ys[0], x)),
        "missing in backward": (ValueError, "backward: " + NEEDED, lambda ys, x: ys[0].backward()),
        "one missing": (ValueError, "grad: " + NEEDED, lambda ys, x: mg.grad(ys, x, [None, x])),
        "count": (ValueError, "grad: expected 2 grad_outputs, one per output, got 1",
                  lambda ys, x: mg.grad(ys, x, mg.ones(2, dtype="float64"))),
        "too many": (ValueError, "grad: expected 1 grad_outputs, one per output, got 2",
                     lambda ys, x: mg.grad(ys[0], x, [x, x])),
        "shape": (ValueError, f"grad: {EXPECTED} (1,) and float64",
                  lambda ys, x: mg.grad(ys[0], x, mg.ones(1, dtype="float64"))),
        "shape in backward": (ValueError, f"backward: {EXPECTED} () and float64",
                              lambda ys, x: ys[0].backward(1.0)),
        "dtype": (ValueError, f"grad: {EXPECTED} (2,) and float32",
                  lambda ys, x: mg.grad(ys[0], x, mg.ones(2))),
        "no Tensor": (TypeError, "got str", lambda ys, x: ys[0].backward("1")),
        "output without a gradient": (
            RuntimeError, "grad: the output of shape () requires no gradient",
            lambda ys, x: mg.grad(mg.ones(()), x)),
        "backward of a constant": (
            RuntimeError,
            "backward: the output of shape (2,) requires no gradient: nothing it was computed from does, "
            "or it was computed under no_grad or detached", lambda ys, x: (x.detach() * 2).backward()),
        "input without a gradient": (RuntimeError, "grad: input 1 requires no gradient",
                                     lambda ys, x: mg.grad(ys[0].sum(), [x, mg.ones(2)])),
        "no outputs": (ValueError, "grad: the outputs do not depend on input 0",
                       lambda ys, x: mg.grad([], x)),
    }
)  # fmt: skip
def test_errors(error, words, call):
    x = leaf([1.0, 2.0])
    with refuses(error, words):
        call([x * 2, x * 3], x)
    assert x.grad is None


def test_a_cotangent_from_another_backend_is_refused(backend):
    other = "strict" if backend == "numpy" else "numpy"
    backends.get(other)
    x = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match="backend"):
        (x + 0).backward(mg.ones(2, dtype="float64", backend=other))
    assert x.grad is None


# --- memory that nothing else shares ---

SHARING = {
    "the same twice": lambda a, b: a + a,
    "a sum": lambda a, b: a + b,
    "a chain of sums": lambda a, b: (a + b) + (a + b),
    "a difference": lambda a, b: b - a,
    "reshaped": lambda a, b: a.reshape(4).reshape(2, 2) + b.reshape(2, 2),
    "transposed": lambda a, b: a.T + b,
    "summed": lambda a, b: (a.sum() + b.sum()).broadcast_to((2, 2)),
    "broadcast": lambda a, b: a.broadcast_to((1, 2, 2)).sum(0) + b,
    "concatenated": lambda a, b: mg.concatenate([a[:1], b[1:]]) + mg.stack([a, b])[0],
    "multiplied": lambda a, b: a * b,
    "the leaf itself": lambda a, b: a,
}


@pytest.mark.parametrize("fn", SHARING.values(), ids=SHARING)
def test_grad_is_nobody_elses_memory(fn):
    a, b = leaf([[1.0, 2.0], [3.0, 4.0]]), leaf([[5.0, 6.0], [7.0, 8.0]])
    seed = leaf([[1.0, 2.0], [3.0, 4.0]])
    fn(a, b).backward(seed)
    grads = [t.grad for t in (a, b) if t.grad is not None]
    everything = [a, b, seed, *grads]
    for g in grads:
        others = [(t, t.numpy()) for t in everything if t is not g]
        g.data = g.data + 100  # a view of something broadcast could not even be written to
        for t, before in others:
            equal(t, before)


# --- freeing ---


def test_a_second_backward_says_what_to_do():
    x = leaf(2.0)
    h = x * x
    y = h * x
    y.backward()
    for again in [y.backward, (h * 2).backward, lambda: mg.grad(y, x), lambda: mg.grad(h, x)]:
        with pytest.raises(RuntimeError, match=r"earlier backward\(\) freed this graph") as caught:
            again()
        for way_out in ["compute it again", "backward(create_graph=True)", "use grad()"]:
            assert way_out in str(caught.value)
    equal(x.grad, 12)


def test_create_graph_keeps_the_graph():
    x = leaf(2.0)
    y = x**3
    y.backward(create_graph=True)
    first = x.grad
    assert first.requires_grad
    equal(mg.grad(first, x), 12)
    y.backward()
    equal(x.grad, 24)
    assert not x.grad.requires_grad


def alive():
    """How many nodes, leaves and tensors there are, of which the garbage collector has seen none."""
    # By type(), which asks nothing of the objects: others' lazy ones warn when asked for their class.
    return sum(issubclass(type(o), (Node, Leaf, mg.Tensor)) for o in gc.get_objects())


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("step", "use"),
    [
        (lambda x: x * x, "drop"),
        (lambda x: x + 1, "grad"),
        (lambda x: x.tanh(), "backward"),
        (lambda x: x * x, "backward"),
    ],
    ids=["multiply, drop", "add, grad", "tanh, backward", "multiply, backward"],
)
def test_a_chain_of_100_000_ops(step, use):
    """Built, walked and freed without recursion, and without the collector."""
    x = leaf(0.0)
    before = alive()
    y = x
    for _ in range(100_000):
        y = step(y)
    assert alive() > before + 100_000
    if use == "grad":
        assert mg.grad(y, x).shape == ()
    elif use == "backward":
        y.backward()
        x.grad = None
        assert alive() < before + 10  # freed while y is still there
    del y
    assert alive() == before


@pytest.mark.usefixtures("no_collector")
def test_backward_frees_what_ops_of_several_outputs_saved(rng):
    x = normal(rng, 4, 3, requires_grad=True)
    before = alive()
    y, mean, var = mg.batch_norm(x * 2, None, None)
    loss = (y * y).sum() + mean.sum() + var.sum()
    loss.backward()
    x.grad = None
    del loss
    assert alive() == before + 3 + 1  # the three outputs, and the node they came out of


@pytest.mark.usefixtures("no_collector")
def test_a_training_step_leaves_no_cycles(rng):
    def train():
        layers = mg.nn.Linear(8, 6, bias=False, rng=rng), mg.nn.BatchNorm(6), mg.nn.Sigmoid()
        model = mg.nn.Sequential(*layers, mg.nn.Linear(6, 3, rng=rng))
        optimizer = mg.optim.Adam(model.parameters(), 0.01)
        x, labels = mg.tensor(rng.standard_normal((16, 8))).astype("float32"), [0, 1, 2, 1] * 4
        for _ in range(2):
            optimizer.zero_grad()
            mg.softmax_cross_entropy(model(x), labels).backward()
            optimizer.step()
        loss = mg.softmax_cross_entropy(model.eval()(x), labels)
        first = mg.grad(loss, model.parameters(), create_graph=True)
        mg.grad(sum((g * g).sum() for g in first), model.parameters())

    train()  # what is made once and kept
    before = alive()
    train()
    assert alive() == before


@pytest.mark.usefixtures("no_collector")
def test_memory_comes_back_after_every_step():
    weight = leaf(np.ones((50, 50)))

    def step():
        loss = mg.tensor(np.ones((50, 50)))
        for _ in range(10):
            loss = mg.sigmoid(loss @ weight * 0.01)
        loss.sum().backward()
        weight.grad = None

    step()
    tracemalloc.start()
    try:
        step()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            step()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before > 10 * weight.data.nbytes  # the graph was there,
    assert after - before < weight.data.nbytes  # and is gone: not one matrix is left


# --- recording ---


def test_differentiating_under_no_grad():
    x = leaf(3.0)
    y = x**3
    with mg.no_grad():
        dy = mg.grad(y, x, create_graph=True)
        assert not (x * 2).requires_grad
    assert mg.grad(dy, x).item() == 18


def test_an_error_while_differentiating_leaves_recording_on():
    class Broken(Product):
        def backward(self, node, needs, gy):
            raise ZeroDivisionError

    x = leaf(1.0)
    y = x.apply(Broken(), x, x)
    for differentiate in (lambda: mg.grad(y, x), y.backward):
        with pytest.raises(ZeroDivisionError):
            differentiate()
        assert recording.get() and x.grad is None


# --- changes between a forward and its backward ---


def assigned(t, value=None):
    t.data = t.data * 2 if value is None else value


def decremented(t):
    t.data = t.data - 1


def square(change):
    x = leaf([1.0, 2.0])
    return (x * x).sum(), x, lambda: change(x)


def optimizer_step(make):
    x = leaf([1.0, 2.0])
    optimizer = make([x])
    (x * 3).sum().backward()
    return (x * x).sum(), x, optimizer.step


def running_statistics():
    layer = mg.nn.BatchNorm(2, dtype=np.float64)
    x = leaf([[1.0, 2.0], [3.0, 5.0]])
    layer(x)
    loss = layer.eval()(x).sum()
    return loss, x, lambda: layer.train()(x)


def linear(change):
    layer = mg.nn.Linear(2, 1, dtype=np.float64)
    x = leaf([[1.0, 2.0]])
    return layer(x).sum(), x, lambda: change(layer)


def moved_to_another_backend(layer):
    backends.get("strict")
    layer.to("strict" if layer.weight.backend == "numpy" else "numpy")


def view(of, base_changes):
    """A view is used and its base changes, or the other way round."""
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    used = of(x) if base_changes else x
    return (used * used).sum(), x, lambda: decremented(x if base_changes else of(x))


def output_of(fn):
    x = leaf([1.0, 2.0])
    y = fn(x)
    return y.sum(), x, lambda: decremented(y)


def labels():
    z, c = leaf(np.zeros((2, 2))), mg.tensor(np.array([0, 1]))
    return mg.softmax_cross_entropy(z, c), z, lambda: assigned(c, device(np.array([1, 0])))


def index():
    x, i = leaf([1.0, 2.0]), mg.tensor(np.array([0, 0]))
    return x[i].sum(), x, lambda: assigned(i, device(np.array([1, 1])))


VIEWS = {
    "reshape": lambda x: x.reshape(4),
    "slice": lambda x: x[:1],
    "transpose": lambda x: x.T,
    "detach": lambda x: x.detach(),
    "two steps": lambda x: x.reshape(4)[1:].reshape(3, 1),
}

CHANGES = {
    "data assigned": ("Multiply: input 0", lambda: square(assigned)),
    "data decremented": ("Multiply: input 0", lambda: square(decremented)),
    "an SGD step": ("Multiply: input 0", lambda: optimizer_step(lambda p: mg.optim.SGD(p, 0.1))),
    "an Adam step": ("Multiply: input 0", lambda: optimizer_step(lambda p: mg.optim.Adam(p, 0.1))),
    "running statistics": ("FrozenBatchNorm: input 3", running_statistics),
    "load_state_dict": (
        "Linear: input 1",
        lambda: linear(lambda layer: layer.load_state_dict(layer.state_dict())),
    ),
    "to another backend": ("Linear: input 1", lambda: linear(moved_to_another_backend)),
    **{
        f"{name}, {'its base' if base else 'itself'}": (
            "Multiply: input 0",
            lambda of=of, base=base: view(of, base),
        )
        for name, of in VIEWS.items()
        for base in (True, False)
        if name != "detach" or not base
    },
    **{
        f"the output of {name}": (f"{op}: output 0", lambda fn=fn: output_of(fn))
        for name, op, fn in [
            ("sigmoid", "Sigmoid", mg.sigmoid),
            ("exp", "Exp", mg.exp),
            ("softmax", "Softmax", mg.softmax),
            ("max", "Max", lambda x: x.max(keepdims=True)),
        ]
    },
    "labels": ("SoftmaxCrossEntropy: input 1", labels),
    "an index": ("Index: input 1", index),
}


@pytest.mark.parametrize(("words", "build"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_saved_value_is_reported(words, build):
    loss, x, change = build()
    x.grad = old = mg.full(x.shape, 7, dtype=x.dtype)
    change()
    for differentiate in (loss.backward, lambda: mg.grad(loss, x)):
        with refuses(RuntimeError, f"{words} was changed in place after the forward pass used it"):
            differentiate()
    assert x.grad is old
    equal(old, np.full(x.shape, 7))


HARMLESS = {
    "an input of add": (lambda x: x + 1, lambda x, y: decremented(x), [1, 1]),
    "an output of add": (lambda x: x + 1, lambda x, y: decremented(y), [1, 1]),
    "the input of a view": (lambda x: x[::-1], lambda x, y: decremented(x.detach().T), [1, 1]),
    "the input of exp": (lambda x: x.exp(), lambda x, y: decremented(x), np.exp([1, 2])),
    "the output of a product": (lambda x: x * x, lambda x, y: decremented(y), [2, 4]),
    "a copy": (lambda x: x * x, lambda x, y: decremented(mg.tensor(x)), [2, 4]),
    "a picked copy": (lambda x: x * x, lambda x, y: decremented(x[[0, 1]]), [2, 4]),
}


@pytest.mark.parametrize(("fn", "change", "expected"), HARMLESS.values(), ids=HARMLESS)
def test_a_change_of_what_nothing_saved_is_not(fn, change, expected):
    x = leaf([1.0, 2.0])
    y = fn(x)
    loss = y.sum()
    change(x, y)
    equal(mg.grad(loss, x), expected)
    loss.backward()
    equal(x.grad, expected)


def test_a_change_matters_on_the_way_only_and_to_higher_orders():
    x, w = leaf(2.0), leaf(3.0)
    y = (x * x) + w * 5
    g = mg.grad(x**3, x, create_graph=True)
    decremented(x)
    assert mg.grad(y, w).item() == 5
    for value in (y, g):
        with refuses(RuntimeError, "input 0 was changed in place"):
            mg.grad(value, x)
    assert mg.grad(x * x, x).item() == 2


# --- values, not objects ---


def test_a_saved_output_is_the_value_itself():
    """sigmoid'(x) is computed from its saved output: the gradient finds the way back to it, and through it to x."""
    x = leaf([0.5, -1.0])
    y = mg.sigmoid(x)
    g = mg.grad(y, x, mg.ones(2, dtype="float64"), create_graph=True)
    ones = mg.ones(2, dtype="float64")
    v = y.numpy()
    close(mg.grad(g, y, ones), 1 - 2 * v)
    close(mg.grad(g, x, ones), (1 - 2 * v) * v * (1 - v))


def test_the_same_value_under_two_names_is_one_value():
    x = leaf([1.0, 2.0])
    y = x * 2
    same = y.reshape(2)
    assert same is y
    view = y.reshape(1, 2)
    z = (view * view).sum()
    equal(mg.grad(z, y), [4, 8])
    del y
    equal(mg.grad(z, same), [4, 8])


class Product(Op):
    """a b^2, differentiated through its reference."""

    def reference(self, a, b):
        return a * b * b

    def forward(self, k, a, b):
        return a * b * b


class Spread(Op):
    """Two outputs, of which the second does not depend on the first input."""

    num_outputs = 2

    def reference(self, a, b):
        return a * b, b * b

    def forward(self, k, a, b):
        return a * b, b * b


def test_a_reference_takes_its_inputs_as_independent():
    """One input computed from another, and an input given twice: a (2a)^2 = 4 a^3 and a a^2 = a^3."""
    for inner, factor in [(lambda a: 2 * a, 4), (lambda a: a, 1)]:
        a = leaf([1.0, 3.0])
        y = a.apply(Product(), a, inner(a))
        g = mg.grad(y.sum(), a, create_graph=True)
        close(g, factor * 3 * a.numpy() ** 2)
        h = mg.grad(g.sum(), a, create_graph=True)
        close(h, factor * 6 * a.numpy())
        close(mg.grad(h.sum(), a), factor * 6 * np.ones(2))
    assert mg.gradcheck(lambda a: a.apply(Product(), a.exp(), 2 * a), leaf([0.5, 1.5]), order=3)


def test_a_reference_without_a_graph_of_one_output():
    """The gradient of an output that does not depend on any input with a gradient is none, not an accident."""
    a, b = leaf([1.0, 2.0]), mg.tensor(np.array([3.0, 4.0]))
    first, second = a.apply(Spread(), a, b)
    equal(mg.grad(first.sum() + second.sum(), a), [3, 4])
    assert mg.grad(second.sum(), a, allow_unused=True) is None


def test_batch_norm_grad_of_statistics_computed_in_the_open(rng):
    """BatchNormGrad sees mean and inv_std as inputs; here both come from x by ordinary arithmetic."""
    gamma, gy = normal(rng, 3), normal(rng, 5, 3)
    op = BatchNormGrad((1,))

    def from_outside(x):
        return x.apply(op, x, gamma, x.mean(0), 1 / (x.var(0) + 1e-3).sqrt(), gy)[0]

    def from_inside(x):
        y = mg.batch_norm(x, gamma, None)[0]
        return mg.grad(y, x, gy, create_graph=True)

    x, v = normal(rng, 5, 3, requires_grad=True), normal(rng, 5, 3)
    close(from_outside(x), from_inside(x))
    close(mg.grad(from_outside(x), x, v), mg.grad(from_inside(x), x, v))
    assert mg.gradcheck(from_outside, x)


class Planted(Op):
    """a + b, or with ``num_outputs`` 2 also 2 a, with the gradient for input ``index`` in another form."""

    saves_inputs = False

    def __init__(self, form, index, **settings):
        self.form, self.index = form, index
        for name, value in settings.items():
            setattr(self, name, value)

    def forward(self, k, a, b):
        return a + b if self.num_outputs == 1 else (a + b, a * 2)

    def backward(self, node, needs, *gys):
        gy = next(g for g in gys if g is not None)
        return tuple(self.form(gy) if i == self.index else gy for i in range(len(needs)))


class PlantedReference(Planted):
    """The same without a backward."""

    backward = None
    saves_inputs = True

    def reference(self, *tensors):
        return tensors[0].apply(Planted(self.form, self.index), *tensors)


FORMS = {
    "a row": lambda gy: gy[:1],
    "one": lambda gy: gy.sum().reshape(1, 1),
    "an axis more": lambda gy: gy.reshape(1, 2, 3),
    "a number": lambda gy: gy.sum(),
    "transposed": lambda gy: gy.T,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Planted, {}),
        (Planted, {"saves_inputs": True}),
        (Planted, {"saves_inputs": slice(1)}),
        (Planted, {"elementwise": True}),
        (Planted, {"num_outputs": 2}),
        (PlantedReference, {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("index", [0, 1])
def test_no_backward_hands_on_a_gradient_of_another_shape(kind, settings, form, index):
    """Neither to a leaf, nor to an interior value, nor to one that has a gradient already."""
    words = f"a gradient of shape {FORMS[form](mg.ones((2, 3))).shape} for input {index} of shape (2, 3)"
    right = lambda gy: gy  # noqa: E731
    for wrap in (right, lambda x: 2 * x):
        for use in (right, lambda y: y + 0 * y):
            for others in (lambda *_: 0, lambda a, b: (a * b * b).sum()):
                leaves = [leaf(np.ones((2, 3))) for _ in range(2)]
                a, b = map(wrap, leaves)
                for planted, error in ((FORMS[form], True), (right, False)):
                    y = a.apply(kind(planted, index, **settings), a, b)
                    loss = use(y[0] if isinstance(y, tuple) else y).sum() + others(a, b)
                    if error:
                        with refuses(RuntimeError, words):
                            mg.grad(loss, leaves, create_graph=True)
                    else:
                        loss.backward()


def test_the_shape_of_a_planted_gradient_is_reported_with_its_op(monkeypatch):
    monkeypatch.setattr(type(ADD), "backward", lambda self, node, needs, gy: (gy.sum(), gy))
    x = leaf(np.ones(3))
    with refuses(
        RuntimeError, "Add: the backward pass computed a gradient of shape () for input 0"
    ):
        (x + x).sum().backward()
