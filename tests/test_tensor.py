"""Tensors: their creation, attributes and operators, and conversion from and to other types."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from helpers import device, equal, error_table, leaf, python, refuses

import minigrad as mg
from minigrad import backend as backends

pytestmark = pytest.mark.usefixtures("backend")

FLOATS = ["float16", "float32", "float64"]
DTYPES = [*FLOATS, "int8", "int64", "uint8", "bool"]


# --- creation ---


WRAPS = pytest.mark.parametrize(
    "wrap", [np.asarray, device, mg.tensor], ids=["numpy", "device", "tensor"]
)


@WRAPS
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_and_tensors_keep_their_dtype(wrap, dtype):
    values = np.array([[0, 1], [1, 0]], dtype)
    t = mg.tensor(wrap(values))
    assert (t.dtype, t.shape) == (dtype, (2, 2))
    equal(t, values)
    assert mg.tensor(np.dtype(dtype).type(1)).dtype == dtype
    for data in (1, [1.5, 2], np.array([1.5])):
        given = mg.tensor(data, dtype=dtype)
        assert given.dtype == dtype
        equal(given, np.array(data).astype(dtype))


@pytest.mark.parametrize(
    "data",
    [1, 1.5, True, [1, 2], [[1.5], [2]], [True, False], (1, 2), [], [np.array([1.0, 2.0])]],
    ids=repr,
)
def test_python_numbers_and_lists_become_float32(data):
    t = mg.tensor(data)
    assert t.dtype == np.float32
    equal(t, np.array(data, np.float32))


def swapped(a):
    """The same numbers in the other byte order."""
    return a.astype(a.dtype.newbyteorder())


def shifted(a):
    """The same numbers where no compiled loop may read them: one byte beyond where they belong."""
    wide = np.zeros(a.shape, [("first", "i1"), ("value", a.dtype)])
    wide["value"] = a
    return wide["value"]


IMAGES = np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32)
ROWS = IMAGES.reshape(12, 36)
READERS = {
    "relu": (mg.relu, [ROWS]),
    "sigmoid": (mg.sigmoid, [ROWS]),
    "sum": (lambda x: x.sum(0), [ROWS]),
    "mean": (lambda x: x.mean(1), [ROWS]),
    "matmul": (lambda x, y: x @ y, [ROWS, ROWS.T]),
    "linear": (mg.linear, [ROWS, ROWS[:5], ROWS[0, :5]]),
    "batch_norm": (lambda *xs: mg.batch_norm(*xs)[0], [IMAGES, ROWS[0, :3], ROWS[1, :3]]),
    "layer_norm": (mg.layer_norm, [IMAGES]),
    "conv2d": (lambda x, w: mg.conv2d(x, w, padding=1), [IMAGES, IMAGES[:, :, :3, :3]]),
    "max_pool2d": (lambda x: mg.max_pool2d(x, 2), [IMAGES]),
    "avg_pool2d": (lambda x: mg.avg_pool2d(x, 2), [IMAGES]),
    "softmax_cross_entropy": (mg.softmax_cross_entropy, [ROWS, np.arange(12)]),
    "mse_loss": (mg.mse_loss, [ROWS, ROWS[::-1]]),
    "getitem": (lambda x, i: x[i], [ROWS, np.arange(3)]),
    "of float16": (lambda x: x.sum(0), [ROWS.astype(np.float16)]),
}


@pytest.mark.parametrize("how", [swapped, shifted])
@pytest.mark.parametrize("name", READERS)
def test_wrapped_arrays_that_kernels_cannot_read(name, how):
    fn, arrays = READERS[name]
    found = []
    for change in (how, np.copy):
        xs = [mg.Tensor(change(a)) for a in arrays]
        x = xs[0]
        x.requires_grad = True
        y = fn(*xs)
        (y * y).sum().backward()
        assert all(t.dtype.isnative for t in (*xs, y, x.grad))
        found.append((y.numpy(), x.grad.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("how", [swapped, shifted])
def test_states_and_data_that_kernels_cannot_read(backend, how):
    model = mg.nn.BatchNorm(3)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for owner in (model, optimizer):
        state = {name: array + 2 for name, array in owner.state_dict().items()}
        owner.load_state_dict({name: how(array) for name, array in state.items()})
        for name, array in owner.state_dict().items():
            assert array.dtype.isnative
            np.testing.assert_array_equal(array, state[name])
    if backend == "numpy":
        model.gamma.data = how(np.full(3, 7, np.float32))
        equal(model.gamma, [7, 7, 7])


def test_other_arrays_are_wrapped_where_they_are():
    for array in (np.ones(3, np.float32), np.ones((2, 2))[:, ::-1], np.zeros(2, np.int64)):
        assert mg.Tensor(array)._data is array


@pytest.mark.parametrize("array", [np.ones(2, complex), np.array(["a"]), np.array([None])])
def test_wrapped_arrays_hold_real_numbers(array):
    with refuses(TypeError, f"tensor: expected numbers, got {array.dtype}"):
        mg.Tensor(array)


@WRAPS
def test_creation_copies(wrap):
    source = wrap(np.zeros(3))
    t = mg.tensor(source)
    if isinstance(source, mg.Tensor):
        source.data = source.data + 1
    else:
        source += 1
    equal(t, [0, 0, 0])


def test_a_memory_map_is_read_like_an_array(tmp_path):
    values = np.memmap(tmp_path / "values", np.int8, "w+", shape=3)
    assert mg.tensor(values).dtype == np.int8


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda **o: mg.zeros((2, 3), **o), np.zeros((2, 3))),
        (lambda **o: mg.ones(2, **o), np.ones(2)),
        (lambda **o: mg.full((), 7, **o), np.array(7)),
        (lambda **o: mg.arange(3, **o), np.arange(3)),
        (lambda **o: mg.arange(1, 2, 0.25, **o), np.arange(1, 2, 0.25)),
        (lambda **o: mg.arange(3, 0, -1, **o), np.arange(3, 0, -1)),
    ],
    ids=["zeros", "ones", "full", "arange", "arange with a step", "arange backwards"],
)
def test_makers(backend, make, expected):
    equal(make(), expected)
    assert make().dtype == np.float32
    assert make().backend == backend
    assert make(dtype="float64").dtype == np.float64
    assert make(backend="numpy").backend == "numpy"
    assert not make().requires_grad


def test_makers_of_leaves():
    for make in (mg.zeros, mg.ones, lambda n, **o: mg.full(n, 2, **o)):
        assert make(2, requires_grad=True).requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda: mg.tensor([1.0], True),
        lambda: mg.tensor([1.0], "float64"),
        lambda: mg.constant([1.0], "float64"),
        lambda: mg.full(2, 1, True),
        lambda: mg.full(2, 3, 1.0),
        lambda: mg.zeros(2, True),
        lambda: mg.ones((2, 3), True),
        lambda: mg.arange(0, 3, 1, "int64"),
    ],
)
def test_flags_are_given_by_name(call):
    with pytest.raises(TypeError):
        call()


@error_table(
    {
        **{
            name: (TypeError, f"tensor: expected numbers, got {kind}", lambda data=data: mg.tensor(data))
            for name, kind, data in [
                ("a string", "<U3", "one"),
                ("an array of strings", "<U3", np.array(["one"])),
                ("None", "None", None),
                ("an array of objects", "object", np.array([None])),
                ("a complex number", "complex128", 1j),
                ("a list of complex numbers", "complex128", [1j]),
                ("an array of complex numbers", "complex128", np.array([1j])),
                ("dates", "datetime64[D]", np.array(["2015-02-11"], "datetime64[D]")),
            ]
        },
        "complex dtype": (TypeError, "complex", lambda: mg.tensor([1.0], dtype="complex64")),
        "cast to complex": (TypeError, "complex", lambda: mg.ones(1).astype("complex64")),
        "a complex operand": (TypeError, "complex", lambda: mg.ones(1) + device(np.array([1j]))),
        "a ragged list": (ValueError, "inhomogeneous", lambda: mg.tensor([[1], [1, 2]])),
        "an unknown backend": (ValueError, "unknown backend 'tpu': expected one of numpy, cupy",
                               lambda: mg.tensor(1, backend="tpu")),
        "a number wrapped": (TypeError, "use minigrad.tensor", lambda: mg.Tensor(1.0)),
        "a list wrapped": (TypeError, "Tensor wraps an array, got list", lambda: mg.Tensor([1.0])),
        "integers with a gradient": (TypeError, "requires_grad: expected a floating dtype, got int64",
                                     lambda: mg.tensor(1, requires_grad=True, dtype="int64")),
        "booleans with a gradient": (TypeError, "requires_grad: expected a floating dtype, got bool",
                                     lambda: mg.ones(2, requires_grad=True, dtype=bool)),
    }
)  # fmt: skip
def test_what_tensors_are_not_made_of(error, words, call):
    with refuses(error, words):
        call()


# --- attributes ---


def test_attributes(backend):
    t = mg.zeros((2, 3), dtype="float64")
    assert (t.shape, t.ndim, t.size, t.dtype, t.backend) == ((2, 3), 2, 6, np.float64, backend)
    assert (len(t), t.requires_grad, t.grad, t.T.shape) == (2, False, None, (3, 2))
    assert isinstance(t.data, backends.get(backend).array)


def test_requires_grad_is_switched_on_leaves_only():
    t = mg.zeros(2)
    t.requires_grad = True
    y = t * 2
    assert y.requires_grad
    t.requires_grad = False
    assert not (t * 2).requires_grad
    with refuses(RuntimeError, "only a leaf's can be set; use .detach() to cut a graph"):
        y.requires_grad = False
    integers = mg.arange(2, dtype="int64")
    with refuses(TypeError, "expected a floating dtype, got int64"):
        integers.requires_grad = True


def test_grad_can_be_set_on_leaves():
    t = leaf([1.0, 2.0])
    t.grad = mg.tensor(np.array([3.0, 4.0]))
    equal(t.grad, [3, 4])
    t.grad = None
    assert t.grad is None
    for wrong in [1.0, mg.zeros(3), np.zeros(2)]:
        with refuses(ValueError, "grad: expected a Tensor of shape (2,) or None"):
            t.grad = wrong
    for other in [t * 2, mg.zeros(2)]:
        assert other.grad is None
        with refuses(RuntimeError, "grad: only leaves that require a gradient have one"):
            other.grad = mg.zeros(2)


def test_data_shows_the_array_itself(backend):
    array = device(np.zeros(3))
    t = mg.Tensor(array)
    shown = t.data
    array += 1
    equal(mg.tensor(shown), [1, 1, 1])
    t.data = t.data * 2
    equal(t, [2, 2, 2])


def test_data_refuses_to_be_written_to():
    t = mg.zeros(3, backend="numpy")
    with pytest.raises(ValueError, match="read-only"):
        t.data[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        t.data -= 1
    equal(t, [0, 0, 0])


def test_assigned_data_is_copied():
    t, array = mg.tensor(np.zeros(3)), device(np.ones(3))
    t.data = array
    array += 1
    equal(t, [1, 1, 1])
    t = mg.tensor(3)
    detached = t.detach()
    t.data = t.data - 1  # NumPy makes a scalar of it
    assert t.item() == detached.item() == 2


@error_table(
    {
        "shape": (
            ValueError,
            "data: expected shape (3,) and dtype float32, got (1,) and float32",
            lambda: device(np.zeros(1, np.float32)),
        ),
        "dtype": (ValueError, "got (3,) and float64", lambda: device(np.zeros(3))),
        "a list": (TypeError, "array, got list", lambda: [0.0] * 3),
        "a Tensor": (TypeError, "array, got minigrad.Tensor", lambda: mg.zeros(3)),
        "None": (TypeError, "array, got None", lambda: None),
    }
)
def test_data_is_checked(backend, error, words, call):
    t = mg.zeros(3)
    with refuses(error, words):
        t.data = call()
    equal(t, [0, 0, 0])
    if backend != "numpy":
        with refuses(TypeError, f"data: expected a {backend} array, got numpy.ndarray"):
            t.data = np.zeros(3, np.float32)


# --- operators ---

#: of a Tensor holding 2, 3 and something holding 2, 5 or one number
OPERATORS = ["add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "other",
    [
        *(4, 2.5, True, np.float64(2.5), np.int64(4), [2, 5]),
        lambda: device(np.array([2.0, 5.0], np.float32)),
        lambda: device(np.array(4, np.float32)),
        lambda: mg.tensor([2, 5]),
    ],
    ids=["int", "float", "bool", "float64", "int64", "list", "array", "array of no axes", "tensor"],
)
def test_operators_take_anything_on_either_side(name, side, other):
    operate = getattr(operator, name)
    other = other() if callable(other) else other
    t, values = leaf([2, 3], np.float32), np.float32([2, 3])
    if isinstance(other, mg.Tensor):
        plain = other.numpy()
    else:
        plain = np.float32(mg.tensor(other).numpy())
    result = operate(t, other) if side == "left" else operate(other, t)
    expected = operate(values, plain) if side == "left" else operate(plain, values)
    assert isinstance(result, mg.Tensor)
    assert result.dtype == expected.dtype
    assert result.requires_grad == (result.dtype != bool)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("scalar", "floating"),
    [
        *[(value, False) for value in [1, True, np.int64(1), np.int8(1), np.bool_(True)]],
        *[(value, True) for value in [1.5, np.float64(1.5), np.float32(1.5), np.float16(1.5)]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_never_widen(dtype, scalar, floating):
    """float16 stays float16 beside a float64 scalar; integers become float32 only beside a float."""
    t = mg.ones(2, dtype=dtype)
    kind = np.dtype(dtype).kind
    expected = dtype if kind == "f" else "float32" if floating else dtype
    if dtype == "bool" and not floating:
        expected = "bool" if isinstance(scalar, (bool, np.bool_)) else "int64"
    for result in [t + scalar, scalar + t, t * scalar, scalar * t, mg.maximum(t, scalar)]:
        assert result.dtype == expected
    if kind == "f":
        for result in [t / scalar, scalar / t, t**scalar, scalar**t, t - scalar, scalar - t]:
            assert result.dtype == expected
        assert mg.where([True, False], t, scalar).dtype == expected
        assert mg.where([True, False], scalar, t).dtype == expected


def test_an_array_keeps_its_own_dtype():
    x, array = mg.ones(3), device(np.ones(3))
    assert (x + array).dtype == (array + x).dtype == np.float64


def test_tensors_hash_by_identity_and_none_equals_none():
    a, b = mg.zeros(2), mg.zeros(2)
    assert {a: 1, b: 2}[b] == 2
    assert len({a, b, a}) == 2
    assert (a == None, a != None) == (False, True)  # noqa: E711
    assert a not in [None]


MIXED = {
    "add": lambda a, b: a + b,
    "matmul": lambda a, b: a @ b.T,
    "maximum": lambda a, b: mg.maximum(a, b),
    "concatenate": lambda a, b: mg.concatenate([a, b]),
    "where": lambda a, b: mg.where(a > 0, a, b),
    "linear": lambda a, b: mg.linear(a, b),
    "batch_norm": lambda a, b: mg.batch_norm(a, b[0], None),
    "cross_entropy": lambda a, b: mg.softmax_cross_entropy(a, b[:, 0].astype("int64")),
    "mse_loss": lambda a, b: mg.mse_loss(a, b),
    "getitem": lambda a, b: a[b[:, 0].astype("int64")],
    "array": lambda a, b: a + b.data,
}


@pytest.mark.parametrize("mix", MIXED)
def test_backends_do_not_mix(backend, mix):
    backends.get("strict")
    other = "strict" if backend == "numpy" else "numpy"
    a, b = mg.ones((2, 2)), mg.ones((2, 2), backend=other)
    with pytest.raises(TypeError, match=f"inputs are on different backends, .*{other}") as caught:
        MIXED[mix](a, b)
    assert backend in str(caught.value) and ".to(" in str(caught.value)


# --- in and out ---


def test_numpy_is_a_copy_and_the_only_way_to_an_array():
    t = mg.zeros(3)
    array = t.numpy()
    array += 1
    equal(t, [0, 0, 0])
    assert type(array) is np.ndarray
    for convert in (np.asarray, np.array, lambda t: np.add(t, 1), np.sum):
        with pytest.raises(TypeError):
            convert(t)
    with refuses(TypeError, "a Tensor is not converted to a NumPy array silently: call .numpy()"):
        np.asarray(t)


@pytest.mark.parametrize(
    ("data", "convert", "expected"),
    [
        (2.5, float, 2.5),
        ([[2.5]], float, 2.5),
        ([2.5], int, 2),
        (0.0, bool, False),
        ([3.0], bool, True),
        (np.array([7]), mg.Tensor.item, 7),
        (np.array(True), mg.Tensor.item, True),
        (0.5, mg.Tensor.item, 0.5),
    ],
)
def test_one_element_is_a_python_number(data, convert, expected):
    value = convert(mg.tensor(data))
    assert (value, type(value)) == (expected, type(expected))


@error_table(
    {
        "item": (ValueError, "item: expected one element, got shape (2,)", lambda: mg.zeros(2).item()),
        "float": (ValueError, "expected one element, got shape (0,)", lambda: float(mg.zeros(0))),
        "int": (ValueError, "expected one element, got shape (1, 2)", lambda: int(mg.zeros((1, 2)))),
        "bool": (ValueError, "bool: the truth of a tensor of shape (2,) is ambiguous",
                 lambda: bool(mg.zeros(2))),
        "len": (TypeError, "a tensor of no axes has no length", lambda: len(mg.tensor(1))),
        "iter": (TypeError, "a tensor of no axes", lambda: list(mg.tensor(1))),
        "unpacking": (TypeError, "a tensor of no axes", lambda: [*mg.tensor(1)]),
    }
)  # fmt: skip
def test_errors_of_conversion(error, words, call):
    with refuses(error, words):
        call()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: mg.tensor([1, 2.5]), "Tensor([1. , 2.5]{})"),
        (lambda: mg.tensor(3), "Tensor(3.{})"),
        (lambda: mg.zeros((0, 2)), "Tensor([]{})"),
        (lambda: mg.arange(2, dtype="int64"), "Tensor([0, 1], dtype=int64{})"),
        (lambda: leaf([1.0]), "Tensor([1.], dtype=float64{}, requires_grad=True)"),
        (lambda: leaf(1.0, "float32") * 2, "Tensor(2.{}, requires_grad=True)"),
        (lambda: mg.ones((2, 1)), "Tensor([[1.],\n        [1.]]{})"),
    ],
)
def test_repr(backend, make, expected):
    assert repr(make()) == expected.format("" if backend == "numpy" else f", backend='{backend}'")


def test_to_moves_between_backends(backend):
    backends.get("strict")
    other = "strict" if backend == "numpy" else "numpy"
    t = leaf([1.0, 2.0])
    assert t.to(backend) is t
    moved = t.to(other)
    assert (moved.backend, moved.requires_grad, moved.grad) == (other, True, None)
    (moved * moved).sum().backward()
    equal(moved.grad, [2, 4])
    assert t.grad is None
    moved.data = moved.data + 1
    equal(t, [1, 2])
    assert not mg.zeros(2).to(other).requires_grad
    with refuses(ValueError, "unknown backend 'tpu'"):
        t.to("tpu")


def test_arrays_stay_where_they_are(backend):
    """A device's array stays on the device; a NumPy array goes to the default backend."""
    array = backends.get("strict").from_numpy(np.zeros(2))
    assert mg.tensor(array).backend == "strict"
    assert mg.tensor(array, backend="numpy").backend == "numpy"
    with refuses(ValueError, "unknown backend 'tpu': expected one of numpy, cupy"):
        mg.set_backend("tpu")
    assert mg.tensor(np.zeros(2)).backend == backend


def test_detach_shares_the_data_and_not_the_history():
    t = leaf([1.0, 2.0])
    y = (t * 2).detach()
    assert not y.requires_grad
    alias = t.detach()
    alias.data = alias.data + 1
    equal(t, [2, 3])


# --- in a fresh interpreter ---


def test_importing_minigrad_imports_nothing_heavy():
    heavy = {"matplotlib", "cupy", "tqdm", "safetensors", "torch"}
    code = f"import sys, minigrad; print(*sorted({heavy} & set(sys.modules)))"
    result = python("-c", code)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")


STRICT = "import minigrad as mg, strict; mg.backend.register('strict', strict.load); "


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("numpy", "import minigrad as mg; print(mg.zeros(1).backend)", "numpy"),
        ("strict", STRICT + "print(mg.zeros(1).backend)", "strict"),
        ("strict", STRICT + "mg.set_backend('numpy'); print(mg.zeros(1).backend)", "numpy"),
    ],
)
def test_the_environment_chooses_the_backend(name, code, expected):
    result = python("-c", code, MINIGRAD_BACKEND=name)
    assert (result.stdout.strip(), result.stderr) == (expected, "")


def test_an_unknown_backend_in_the_environment_is_an_error():
    result = python("-c", "import minigrad as mg; mg.zeros(1)", MINIGRAD_BACKEND="tpu")
    assert result.returncode != 0
    assert "ValueError: unknown backend 'tpu'" in result.stderr


def test_dtypes_are_numpys_own_objects():
    """Operators compare them by identity first."""
    made = mg.ones(2), mg.zeros(2, dtype="f4"), mg.tensor(np.ones(2, ">f4")), mg.ones(2) + 1
    assert all(t.dtype is np.dtype(np.float32) for t in made)
