"""How a replay could go wrong without a word, the worst first (``minigrad.graph.capturing``), and that none does."""

import numpy as np
import pytest
from graph.shared import batches, network, step_of
from helpers import device, equal, error_table, refuses

import minigrad as mg
from minigrad import CaptureError, nn, optim

X = np.ones((5, 6), np.float32)


# --- 1. arrays from outside that would be frozen in ---


#: what is made before the capture, and the function of x and of that
OUTSIDE = {
    "closed over": (lambda: mg.ones((5, 6)), lambda x, t: x * t),
    "an operand": (lambda: device(X), lambda x, array: x * array),
    "made inside": (lambda: None, lambda x, _: x * mg.tensor(device(X))),
    "labels": (lambda: device(np.array([0, 1, 2, 0, 1])), mg.softmax_cross_entropy),
    "an index": (lambda: device(np.array([0, 1])), lambda x, index: x[index]),
    "copied": (lambda: None, lambda x, _: mg.tensor(x) * 2),
    "moved": (lambda: None, lambda x, _: x.to("strict" if x.backend == "numpy" else "numpy") * 2),
    "returned": (lambda: mg.ones(3), lambda x, t: t),
}


@pytest.mark.parametrize(("make", "function"), OUTSIDE.values(), ids=OUTSIDE)
def test_arrays_from_outside(backend, make, function):
    value = make()
    with refuses(CaptureError, "came in from outside"):
        mg.capture(lambda x: function(x, value), mg.tensor(X))


def test_arrays_from_outside_may_be_arguments_or_state(backend):
    t = mg.tensor(X)
    equal(mg.capture(lambda x, t: x * t, t, t)(t * 2, t * 3), 6 * X)
    w = nn.Parameter(X)
    equal(mg.capture(lambda x: x * w, w)(t * 2), 2 * X)
    buffer = nn.Buffer(X)
    graph = mg.capture(lambda x: x * buffer, t)
    buffer.data = (t * 5).data
    equal(graph(t), 5 * X)


def test_what_stands_in_the_program_is_no_array_from_outside(backend):
    def f(x):
        return x[:, [0, 2]] * 2 + mg.zeros((5, 2)) + mg.arange(2) + mg.tensor([1, 2]) + mg.tensor(3)

    equal(mg.capture(f, mg.tensor(X))(mg.tensor(2 * X)), f(mg.tensor(2 * X)))


# --- 2. values that leave for Python ---


@error_table(
    {
        "item": (CaptureError, ".item() reads", lambda x: x * x.sum().item()),
        "numpy": (CaptureError, ".numpy() reads", lambda x: x * x.numpy().max()),
        "bool": (CaptureError, ".item() reads", lambda x: x if x.sum() > 0 else -x),
        "float": (CaptureError, ".item() reads", lambda x: x * float(x.sum())),
        "data": (CaptureError, ".data reads", lambda x: x * (x.data if x.data is not None else 0)),
        "print": (CaptureError, ".numpy() reads", lambda x: x * len(repr(x))),
        "a mask": (
            CaptureError,
            ".item() reads",
            lambda x: mg.weighted_batch_norm(x, x[:, 0] > 0, None, None)[0],
        ),
    }
)  # fmt: skip
def test_looks_at_values(backend, error, words, call):
    with refuses(error, words):
        mg.capture(call, mg.tensor(X))


def test_state_is_looked_at_no_more_than_results(backend):
    w = nn.Parameter([1.0])
    with refuses(CaptureError, ".item() reads the values of a tensor of shape (1,)"):
        mg.capture(lambda x: x * w.item(), mg.ones(3))


def test_constants_may_be_looked_at(backend):
    graph = mg.capture(lambda x: x * mg.full((), 3).item(), mg.ones(2))
    equal(graph(mg.ones(2)), np.array([3, 3], "f"))


def test_masks_pick_as_many_as_are_true(backend):
    for f in (lambda x: x[x > 0].mean(), lambda x: x[x[:, 0] > 0]):
        with refuses(CaptureError, "picks as many elements as are true"):
            mg.capture(f, mg.tensor(X))
    graph = mg.capture(lambda x: x[[True, False, True, False, False]], mg.tensor(X))
    equal(graph(mg.tensor(2 * X)), 2 * X[:2])


# --- 3. changes that no op makes ---


def test_changes_that_no_op_makes(backend, rng):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.ExponentialLR(optimizer, 0.5)
    w = nn.Parameter([1.0])

    def assigned(x):
        with mg.no_grad():
            array = w._data * 2
        w.data = array
        return x * w

    changes = {
        "the data of a tensor of shape (1,)": assigned,
        "SGD.lr": lambda x: (schedule.step(), x)[1],
        "Sequential.training": lambda x: model.eval()(x),
        "Linear.extra": lambda x: (setattr(model[0], "extra", 1), x)[1],
    }
    for what, function in changes.items():
        with refuses(CaptureError, f"{what} is set inside of the captured function"):
            mg.capture(function, mg.tensor(X))
    assert optimizer.lr == 0.1
    assert model.training
    equal(w, np.array([1], "f"))


def test_an_argument_is_not_moved(backend):
    w = mg.tensor([1.0], requires_grad=True)

    def step(w):
        w.grad = None
        (w * 2).sum().backward()
        optim.SGD([w], lr=0.1).step()

    with refuses(CaptureError, "update changes w in place"):
        mg.capture(step, w)


# --- 4. Python values that are other ones the next time ---


def exponentials(x, n):
    for _ in range(n):
        x = x.exp()
    return x


@error_table(
    {
        "a counter": (
            CaptureError,
            "op 0, multiply, takes 0.0 as input 1 in the one and 1.0 in the other",
            lambda x, i: x * i,
        ),
        "another setting": (
            CaptureError,
            "op 0, power_scalar, has exponent=1 in the one and 2 in the other",
            lambda x, i: x ** (i + 1),
        ),
        "another number of ops": (
            CaptureError,
            "0 ops in the one and 1 in the other",
            exponentials,
        ),
        "parameters made inside": (
            CaptureError,
            "takes another input 1 in the other",
            lambda x, i: nn.Linear(3, 2)(x),
        ),
        "a number among the results": (CaptureError, "returns a int", lambda x, i: (x, 3)),
    }
)
def test_values_that_are_other_ones_the_next_time(backend, error, words, call):
    count = iter(range(100))
    with refuses(error, words):
        mg.capture(lambda x: call(x, next(count)), mg.ones(3))


def test_another_state(backend):
    parameters = iter([nn.Parameter([1.0]), nn.Parameter([1.0])])
    with refuses(CaptureError, "takes another input 1 in the other"):
        mg.capture(lambda x: x * next(parameters), mg.ones(1))


def test_jit_tells_at_the_second_call(backend):
    count = iter(range(100))
    f = mg.jit(lambda x: x * next(count))
    f(mg.ones(3))
    with refuses(CaptureError, "two runs of the function differ"):
        f(mg.ones(3))


def test_other_results_and_gradients(backend):
    count, w = iter(range(100)), nn.Parameter([1.0])

    def structure(x):
        return {"a": x * 2} if next(count) % 2 else [x * 2]

    def gradient(x):
        two, three = x * 2, x * 3
        w.grad = two if next(count) % 2 else three

    with refuses(CaptureError, "they return different values"):
        mg.capture(structure, mg.ones(1))
    with refuses(CaptureError, "they leave different gradients"):
        mg.capture(gradient, mg.ones(1))


# --- 5. gradients that were there before ---


def test_gradients_that_were_there_before(backend):
    w = nn.Parameter([1.0])

    def accumulate(x):
        (x * w).sum().backward()

    graph = mg.capture(accumulate, mg.ones(1))
    graph(mg.ones(1))
    equal(w.grad, np.array([1], "f"))
    with refuses(RuntimeError, "a parameter has a gradient and had none when it was captured"):
        graph(mg.ones(1))
    equal(w.grad, np.array([1], "f"))
    adding = mg.capture(accumulate, mg.ones(1))
    adding(mg.ones(1) * 2)
    equal(w.grad, np.array([3], "f"))
    w.grad = None
    with refuses(RuntimeError, "a parameter has no gradient and had one when it was captured"):
        adding(mg.ones(1))


def test_gradients_of_another_dtype(backend):
    """Whoever sets ``.grad`` is only asked for the shape."""
    w = nn.Parameter([1.0, 2.0, 3.0])

    def accumulate(x):
        (mg.sigmoid(x) * w).sum().backward()

    x, found = mg.tensor([0.1, 0.2, 0.3]), []
    w.grad = mg.ones(3)
    for f in (accumulate, mg.capture(accumulate, x)):
        for dtype in ("float32", "float32", "int32"):
            w.grad = mg.ones(3, dtype=dtype)
            f(x)
        found.append(w.grad)
    equal(*found)


def test_jit_adds_them_up(backend):
    w, eager = nn.Parameter([1.0]), []
    f = mg.jit(lambda x: (x * w).sum().backward())
    for i in range(1, 8):
        f(mg.ones(1) * i)
        eager.append(sum(range(i + 1)))
        equal(w.grad, np.array([eager[-1]], "f"))


def test_gradients_of_arguments(backend):
    """They would be left in, or read from, the example."""
    x, w = mg.ones(3, requires_grad=True), mg.ones(3, requires_grad=True)
    w.grad = mg.ones(3)
    for name, f in {
        "x": lambda x, w: (x * w.detach()).sum().backward(),
        "w": lambda x, w: w.grad,
    }.items():
        with refuses(CaptureError, f"the gradient of {name} is read or collected"):
            mg.capture(f, x, w)
    assert x.grad is None


# --- 6. what changes later ---


CHANGES = {
    "eval": lambda model: model.eval(),
    "freeze": lambda model: model[1].freeze(),
    "dropout": lambda model: setattr(model[3], "p", 0.5),
    "layers": lambda model: model.layers.__setitem__(2, nn.ReLU()),
    "more layers": lambda model: model.layers.append(nn.ReLU()),
    "another parameter": lambda model: setattr(model[4], "bias", nn.Parameter(np.ones(3, "f"))),
    "no parameter": lambda model: setattr(model[4], "bias", None),
    "no gradient": lambda model: setattr(model[0].weight, "requires_grad", False),
    "eps": lambda model: setattr(model[1], "eps", 1.0),
}


@pytest.mark.filterwarnings("ignore:.*eval with running statistics")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_settings_that_change_later(backend, rng, change):
    """A graph refuses, and jit captures again, as eager code would go on."""
    model, x = network(p=0.0), batches(rng)[0][0]
    graph, f = mg.capture(model, x), mg.jit(model)
    f(x), f(x), f(x), graph(x)
    change(model)
    with pytest.raises(RuntimeError, match="capture it again"):
        graph(x)
    draws = model[3].rng.bit_generator.state
    with mg.nn.hold_statistics():
        expected = model(x)
    for _ in range(3):
        before = {b: b.numpy() for b in model.buffers()}
        model[3].rng.bit_generator.state = draws
        equal(f(x), expected)
        for b, array in before.items():
            b.data = mg.tensor(array).data


def test_parameters_that_an_optimizer_gets_later(backend, rng):
    model = network()
    optimizer = optim.SGD(model.parameters()[:2], lr=0.1)
    data = batches(rng)[0]
    graph = mg.capture(step_of(model, optimizer), *data)
    optimizer.params.append(model.parameters()[2])
    with refuses(RuntimeError, "list"):
        graph(*data)


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "RMSprop"])
def test_groups_and_clipping_in_replays(backend, kind):
    """Each group's settings are read at each step, also by a function that mentions them."""

    def train(wrap, mentioned):
        mg.manual_seed(0)
        rng, model = np.random.default_rng(0), network(p=0.5)
        first, *others = model.parameters()
        groups = [{"params": [first], "lr": 0.1}, {"params": others, "weight_decay": 0.1}]
        optimizer = getattr(optim, kind)(groups, lr=0.01)
        schedule = optim.CosineAnnealingLR(optimizer, 5)

        def step(x, t):
            optimizer.zero_grad()
            loss = mg.softmax_cross_entropy(model(x), t)
            loss.backward()
            norm = optim.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
            return loss, norm * optimizer.param_groups[0]["lr"] if mentioned else norm

        step, found = wrap(step), []
        for i in range(6):
            found += [y.numpy() for y in step(*batches(rng, 1)[0])]
            if i > 2:
                schedule.step()
            if i == 4:
                optimizer.param_groups[1]["lr"] = 0.5
        return found + [*model.state_dict().values()]

    for mentioned in (False, True):
        replayed, eager = train(mg.jit, mentioned), train(lambda step: step, mentioned)
        for a, b in zip(replayed, eager, strict=True):
            equal(a, b)


def test_the_rate_of_a_group_is_set_inside(backend):
    w = nn.Parameter([1.0]), nn.Parameter([2.0])
    optimizer = optim.SGD([{"params": p} for p in w], lr=0.1)

    def step(x):
        (x * w[0] * w[1]).sum().backward()
        optimizer.step()
        optimizer.param_groups[1]["lr"] = 0.2

    with refuses(CaptureError, "SGD.lr is set inside of the captured function"):
        mg.capture(step, mg.ones(1))
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.1]


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks(backend, register):
    """Added, removed, and with another value in a closure."""
    model, by = nn.Sequential(nn.Sigmoid(), nn.ReLU()), 2.0
    x = mg.tensor(X)

    def hook(module, args, y=None):
        return (args[0] if y is None else y) * by

    jitted, graph = mg.jit(model), mg.capture(model, x)
    plain = graph(x).numpy()
    equal(jitted(x), plain), equal(jitted(x), plain)
    added = getattr(model[1], register)(hook)
    with refuses(RuntimeError, "ReLU._hooks has changed since it was captured"):
        graph(x)
    for by in (2.0, 3.0, 3.0, 3.0):
        equal(jitted(x), np.float32(by) * plain)
    added.remove()
    for _ in range(3):
        equal(jitted(x), plain)


class Unregistered(nn.Module):
    """Layers and settings where no name leads to them."""

    def __init__(self):
        self.layers = {"norm": nn.BatchNorm(6)}
        self.nested = [[nn.Sigmoid()]]
        self.settings = {"scale": 2.0}

    def forward(self, x):
        x = self.layers["norm"](x) * self.settings["scale"]
        for layer in self.nested[0]:
            x = layer(x)
        return x


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.layers["norm"], "eps", 0.5),
        lambda model: model.layers["norm"].freeze(affine=False, normalizing=False),
        lambda model: model.layers.update(norm=nn.BatchNorm(6)),
        lambda model: model.nested[0].append(nn.Tanh()),
        lambda model: model.settings.update(scale=3.0),
    ],
)
def test_what_stands_in_dicts_and_in_lists_of_lists(backend, rng, change):
    model, x = Unregistered(), batches(rng)[0][0]
    graph = mg.capture(model, x)
    graph(x)
    model.settings["scale"] = 1.0 * 2  # no change
    graph(x)
    change(model)
    with refuses(RuntimeError, "has changed since it was captured"):
        graph(x)


@pytest.mark.parametrize(
    "change",
    [
        lambda o: setattr(o, "params", o.params[:1]),
        lambda o: setattr(o, "steps", mg.tensor(np.zeros(2, np.int64))),
        lambda o: setattr(o, "state", {"velocity": [mg.zeros(p.shape) for p in o.params]}),
        lambda o: o.state["velocity"].__setitem__(0, mg.zeros((3, 6))),
    ],
)
def test_tensors_that_an_optimizer_moves_instead(backend, rng, change):
    model = nn.Linear(6, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = batches(rng)[0]
    graph = mg.capture(step_of(model, optimizer), *data)
    graph(*data)
    change(optimizer)
    with refuses(RuntimeError, "has changed since it was captured"):
        graph(*data)


@pytest.mark.filterwarnings("ignore:.*eval with running statistics")
def test_contexts(backend, rng):
    model, x = network(), batches(rng)[0][0]
    with nn.hold_statistics(model):
        held = mg.capture(model, x)
    with refuses(RuntimeError, "statistics go, or come from, elsewhere"):
        held(x)
    with mg.no_grad():
        blind = mg.capture(model, x)
        blind(x)
    with refuses(RuntimeError, "captured under no_grad() and keeps no way back"):
        blind(x)
    step = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), *batches(rng)[0])
    with mg.no_grad(), refuses(RuntimeError, "it goes backward, and is called under no_grad()"):
        step(*batches(rng)[0])


def test_a_refused_call_changes_nothing(backend, rng):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    data = batches(rng)[0]
    graph = mg.capture(step_of(model, optimizer), *data)
    model.eval()
    before = model.state_dict()
    with pytest.raises(RuntimeError):
        graph(*data)
    for name, array in model.state_dict().items():
        equal(array, before[name])


# --- 7. other arguments ---


CAPTURED_FOR = "graph: was captured for input 0 of shape (5, 6), float32 on numpy, got"
FIXED = "graph: called with other arguments than it was captured for"


@error_table(
    {
        "shape": (ValueError, CAPTURED_FOR, [mg.ones((4, 6))]),
        "dtype": (TypeError, CAPTURED_FOR, [mg.ones((5, 6), dtype="float64")]),
        "requires_grad": (TypeError, CAPTURED_FOR, [mg.ones((5, 6), requires_grad=True)]),
        "one more": (TypeError, FIXED, [mg.ones((5, 6)), mg.ones(1)]),
        "none": (TypeError, FIXED, []),
        "no tensor": (TypeError, FIXED, [3]),
    }
)
def test_other_arguments(error, words, call):
    graph = mg.capture(lambda x, scale: x * scale, mg.ones((5, 6)), scale=2)
    with refuses(error, words):
        graph(*call, scale=2)


def test_other_backends_and_fixed_values():
    graph = mg.capture(lambda x, scale: x * scale, mg.ones((5, 6)), scale=2)
    with refuses(TypeError, "got shape (5, 6), float32 on strict"):
        graph(mg.ones((5, 6), backend="strict"), scale=2)
    with refuses(TypeError, "expected ((Tensor), {scale: 2}), got ((Tensor), {scale: 3})"):
        graph(mg.ones((5, 6)), scale=3)


def test_the_layout_in_memory_may_be_another_one(backend, rng):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm(4), nn.ReLU())
    x = mg.tensor(rng.standard_normal((2, 3, 6, 6)).astype("f"))
    other = mg.tensor(rng.standard_normal((2, 6, 6, 3)).astype("f")).transpose(0, 3, 1, 2)
    graph = mg.capture(model, x)
    with mg.no_grad(), nn.hold_statistics():
        expected = model(other)
    with mg.no_grad():
        for _ in range(2):
            equal(graph(other), expected)
            graph(x)


# --- 8. results that the next replay would overwrite ---


def test_results_are_not_overwritten(backend, rng):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    data = batches(rng)
    graph = mg.capture(step_of(model, optimizer), *data[0])
    kept = []
    for batch in data:
        loss = graph(*batch)
        results = [loss, *(p.grad for p in model.parameters())]
        kept.append((results, [t.numpy() for t in results]))
    for results, before in kept:
        for t, array in zip(results, before, strict=True):
            equal(t, array)


def test_inputs_are_not_overwritten(backend, rng):
    graph = mg.capture(lambda x: (x, x.reshape(6, 5), mg.sigmoid(x)), mg.tensor(X))
    x = mg.tensor(X)
    same, view, _ = graph(x)
    graph(mg.tensor(2 * X))
    equal(x, X)
    equal(view, X.reshape(6, 5))
    assert same is x


# --- and errors that come up while it runs ---


def test_errors_name_the_layer(backend, rng):
    model = network()
    data = batches(rng)[0]
    graph = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), *data)
    before = model.state_dict()
    with refuses(ValueError, "the batch has NaN or Inf in it") as caught:
        graph(data[0] * np.nan, data[1])
    if backend == "numpy":  # a device that finds it out later does not know the layer any more
        assert str(caught.value).startswith("step: 1: ")
    for name, array in model.state_dict().items():
        equal(array, before[name])
    with refuses(ValueError, "expected labels 0 ... 2"):
        graph(data[0], data[1] + 5)


def test_what_had_changed_before_an_error_is_known_to_have_changed(backend, rng):
    first, second = nn.BatchNorm(6), nn.BatchNorm(6)
    x = batches(rng)[0][0]
    w = mg.ones(6, requires_grad=True)
    with mg.no_grad():
        graph = mg.capture(lambda x, z: (first(x), second(z)), x, x)
        graph(x, x), graph(x, x)
    tape = (
        mg.frozen_batch_norm(x * w, None, None, first.running_mean, first.running_var) ** 2
    ).sum()
    with mg.no_grad(), refuses(ValueError, "NaN or Inf"):
        graph(x, x * np.nan)
    with refuses(RuntimeError, "changed in place"):
        tape.backward()


def test_a_batch_that_is_skipped(backend, rng):
    model = nn.BatchNorm(6, on_nonfinite="skip")
    x = batches(rng)[0][0]
    graph = mg.capture(model, x)
    with mg.no_grad():
        graph(x * np.nan)
        assert model.num_batches.item() == 0
        graph(x)
    assert model.num_batches.item() == 1


def test_what_is_made_inside_may_have_settings(backend):
    graph = mg.capture(lambda x: nn.Sequential(nn.Dropout(0.0), nn.ReLU()).eval()(x), mg.ones(3))
    assert [call.name for call in graph.calls] == ["relu"]


def test_graphs_inside_are_guarded_too(backend, rng):
    norm, x = nn.BatchNorm(6), batches(rng)[0][0]
    inner = mg.capture(norm, x)
    outer = mg.capture(lambda x: inner(x) * 2, x)
    outer(x)
    norm.eps = 1.0
    with refuses(RuntimeError, "BatchNorm.eps has changed"):
        outer(x)


class Keeping(nn.Module):
    """A module that keeps graphs and jitted functions, and calls one."""

    def __init__(self, called):
        self.called, self.graph, self.graphs = called, None, {}

    def forward(self, x):
        return self.called(x)


@pytest.mark.parametrize("make", [mg.jit, lambda f: mg.capture(f, mg.tensor(X))])
def test_modules_may_keep_graphs(backend, make):
    x, model = mg.tensor(X), Keeping(make(lambda x: x * 2))
    first = mg.capture(model, x)
    model.graph = model.graphs["first"] = first
    model.other = model.graphs["other"] = mg.capture(model, x)
    model.fast = mg.jit(model)
    for graph in (first, model.other, model.fast, model.fast, model.fast):
        equal(graph(x), 2 * X)
    assert not model.state_dict() and len(model.fast.graphs) == 1
    del model.other
    equal(first(x), 2 * X)
    model.called = make(lambda x: x * 3)
    equal(model.fast(x), 3 * X)
    with refuses(RuntimeError, "Keeping.called has changed"):
        first(x)


def test_a_module_keeps_the_graph_that_it_makes(backend):
    class Lazy(nn.Module):
        graph = None

        def forward(self, x):
            self.graph = self.graph or mg.capture(lambda x: self.compute(x) * 2, x)
            return self.graph(x)

        def compute(self, x):
            return x + 1

    model, x = Lazy(), mg.tensor(X)
    equal(model(x), 2 * (X + 1))
    equal(model(x), 2 * (X + 1))


def test_the_tape_of_an_argument(backend):
    w = nn.Parameter([2.0])
    with refuses(CaptureError, "goes backward into what an argument was computed from"):
        mg.capture(lambda y: mg.grad((y * 3).sum(), w), w + 1)
    graph = mg.capture(lambda y: mg.grad((y * 3).sum(), y), w + 1)
    equal(graph(w * 5 + 1), np.array([3], "f"))


def test_zero_has_a_sign(backend):
    f = mg.jit(lambda x, scale: x * scale)
    for scale in (0.0, -0.0) * 3:
        assert np.signbit(f(mg.ones(1), scale).numpy()[0]) == np.signbit(scale)


def test_gradients_after_an_error(backend, rng):
    model = network()
    x, t = batches(rng)[0]
    step = mg.capture(step_of(model, optim.SGD(model.parameters(), lr=0.1)), x, t)
    for _ in range(4):
        step(x, t)
    before = model.state_dict()
    with refuses(ValueError, "expected labels"):
        step(x, t + 5)
    if backend == "numpy":  # a device goes on until it is asked
        assert [p.grad for p in model.parameters()] == [None] * 5  # as zero_grad left them
    for name, p in model.named_parameters():
        equal(p, before[name])


@pytest.mark.filterwarnings("ignore:.*eval with running statistics")
def test_which_step_was_trained_is_asked_again(backend, rng):
    """Where values of the state decide what is computed, and the layer says so."""
    norm = nn.RecurrentBatchNorm(6, max_steps=3)
    x = batches(rng)[0][0]
    norm(x, 0)
    norm.eval()
    graph, f = mg.capture(norm, x, 2), mg.jit(norm)
    for _ in range(3):
        equal(graph(x, 2), norm(x, 2))
        f(x, 2)
    norm.train()
    norm(x * 5, 1)
    norm.eval()
    with refuses(RuntimeError, "values have changed that decide which layer computes"):
        graph(x, 2)
    for _ in range(3):
        equal(f(x, 2), norm(x, 2))
