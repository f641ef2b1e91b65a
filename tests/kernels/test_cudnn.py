"""Convolutions by cuDNN, on a stand-in for it that refuses what the real one would refuse."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

import numpy as np
import pytest
from kernels.fake_cudnn import STEPS, Array, Cudnn, Cupy, to_tf32

import minigrad as mg
from minigrad.kernels import cudnn as kernels
from minigrad.kernels.convolution import Window
from minigrad.kernels.cudnn import WORKSPACE, CudnnConvolution
from minigrad.kernels.generic import Kernels

PLAIN = Kernels(np)
NONE = ((0, 0), (0, 0))
#: (n, channels, height, width), outputs, window
CASES = {
    "same": ((2, 3, 5, 6), 4, Window((3, 3), (1, 1), ((1, 1), (1, 1)))),
    "one place": ((2, 5, 4, 3), 3, Window((1, 1), (1, 1), NONE)),
    "one place, stride": ((2, 5, 5, 4), 3, Window((1, 1), (2, 2), NONE)),
    "stride, a row unseen": ((2, 2, 6, 8), 3, Window((3, 3), (2, 2), NONE)),
    "padding after": ((2, 2, 6, 6), 3, Window((3, 3), (2, 2), ((0, 1), (0, 1)))),
    "other paddings": ((2, 2, 5, 4), 3, Window((2, 3), (1, 2), ((2, 0), (1, 3)))),
    "dilation": ((2, 2, 7, 9), 2, Window((3, 2), (1, 1), ((2, 2), (1, 0)), (2, 3))),
    "dilation, stride": ((2, 2, 9, 9), 2, Window((3, 3), (2, 3), ((2, 1), (0, 2)), (2, 2))),
    "groups": ((2, 6, 4, 5), 4, Window((3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1), 2)),
    "depthwise": ((2, 4, 5, 5), 4, Window((3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 4)),
    "a line": ((3, 2, 1, 9), 2, Window((1, 4), (1, 2), ((0, 0), (1, 2)))),
    "one of all": ((1, 1, 3, 3), 1, Window((3, 3), (1, 1), NONE)),
}
TYPES = ["float64", "float32", "float16"]


class Convolutions(CudnnConvolution, Kernels):
    def __init__(self, xp, cudnn):
        super().__init__(xp)
        self.cudnn = cudnn


@pytest.fixture
def xp():
    return Cupy()


@pytest.fixture
def cudnn(xp):
    return Cudnn(xp)


@pytest.fixture
def k(xp, cudnn):
    return Convolutions(xp, cudnn)


@pytest.fixture(autouse=True)
def exact():
    yield
    mg.allow_tf32(False)


def operands(rng, case, dtype):
    """x, weight, bias and gy, of small whole numbers: float16 holds their sums."""
    shape, outputs, window = CASES[case]
    n, c, *size = shape
    shapes = (
        shape,
        (outputs, c // window.groups, *window.size),
        (outputs,),
        (n, outputs, *window.output_size(size)),
    )
    return [rng.integers(-3, 4, s).astype(dtype).view(Array) for s in shapes], window


def channels_last(x):
    return x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)


def check(k, x, weight, bias, gy, window):
    """All three against the kernels that lay patches out."""
    size = x.shape[2:]
    a, w, b, g = (np.array(v, order="C") for v in (x, weight, bias, gy))
    y = k.conv2d(x, weight, bias, window)
    gweight = k.conv2d_weight_grad(x, gy, window)
    gx = k.conv2d_input_grad(gy, weight, window, size)
    assert type(y) is type(gweight) is type(gx) is Array
    assert y.dtype == gweight.dtype == gx.dtype == x.dtype
    np.testing.assert_array_equal(y, PLAIN.conv2d(a, w, b, window))
    np.testing.assert_array_equal(gweight, PLAIN.conv2d_weight_grad(a, g, window))
    np.testing.assert_array_equal(gx, PLAIN.conv2d_input_grad(g, w, window, size))
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert gx.transpose(0, 2, 3, 1).flags.c_contiguous
    assert gweight.flags.c_contiguous
    for before, now in zip((a, w, b, g), (x, weight, bias, gy), strict=True):
        np.testing.assert_array_equal(before, now)


@pytest.mark.parametrize("memory", [np.copy, channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("case", CASES)
def test_convolutions(k, cudnn, rng, case, dtype, memory):
    (x, weight, bias, gy), window = operands(rng, case, dtype)
    check(k, memory(x).view(Array), weight, bias, memory(gy).view(Array), window)
    assert cudnn.executed == 3


def with_gaps(x):
    return np.repeat(x, 2, axis=3)[..., ::2]


def backwards(x):
    return np.ascontiguousarray(x[:, :, ::-1]).view(Array)[:, :, ::-1]


def misaligned(x):
    memory = np.empty(x.size + 4, x.dtype).view(Array)
    offset = next(i for i in range(4) if memory[i:].data.ptr % 16)
    moved = memory[offset : offset + x.size].reshape(x.shape)
    moved[...] = x
    return moved


@pytest.mark.parametrize("memory", [with_gaps, backwards, misaligned, np.asfortranarray])
def test_arrays_that_cudnn_does_not_take_are_copied(k, cudnn, rng, memory):
    (x, weight, bias, gy), window = operands(rng, "same", "float32")
    check(k, memory(x).view(Array), weight, bias, memory(gy).view(Array), window)
    check(k, x, memory(weight).view(Array), bias, gy, window)
    assert cudnn.executed == 6


def test_a_gradient_that_is_one_number(k, cudnn, rng):
    (x, weight, bias, gy), window = operands(rng, "same", "float32")
    check(k, x, weight, bias, np.broadcast_to(gy[:1, :1, :1, :1], gy.shape).view(Array), window)
    assert cudnn.executed == 3


def test_without_bias(k, rng):
    (x, weight, bias, _), window = operands(rng, "groups", "float64")
    y = k.conv2d(x, weight, None, window)
    np.testing.assert_array_equal(y + bias.reshape(-1, 1, 1), k.conv2d(x, weight, bias, window))


def test_no_images(k, cudnn, rng):
    (x, weight, bias, gy), window = operands(rng, "same", "float32")
    check(k, x[:0], weight, bias, gy[:0], window)
    assert cudnn.begun == 0


def test_plans_are_kept(k, cudnn, rng):
    (x, weight, bias, gy), window = operands(rng, "same", "float32")
    check(k, x, weight, bias, gy, window)
    assert cudnn.built == 3
    check(k, x + 1, weight, bias, gy, window)
    assert cudnn.begun == cudnn.built == 3 and cudnn.executed == 6
    k.conv2d(channels_last(x).view(Array), weight, None, window)
    k.conv2d(x[:1], weight, None, window)
    k.conv2d(x, weight, None, window._replace(padding=((0, 0), (1, 1))))
    k.conv2d(x.astype("float64"), weight.astype("float64"), None, window)
    assert cudnn.built == 7


def test_what_cudnn_does_not_do_is_done_without_it(k, cudnn, rng):
    cudnn.supported = False
    (x, weight, bias, gy), window = operands(rng, "padding after", "float32")
    for _ in range(2):
        y = k.conv2d(x, weight, bias, window)
        np.testing.assert_array_equal(y, PLAIN.conv2d(*map(np.asarray, (x, weight, bias)), window))
    assert cudnn.begun == 1
    check(k, x, weight, bias, gy, window)
    asked = cudnn.begun
    cudnn.supported = True
    check(k, x, weight, bias, gy, window)
    assert cudnn.begun == asked and cudnn.executed == 0


def test_other_errors_are_not_hidden(k, cudnn, rng, monkeypatch):
    def fail():
        raise RuntimeError("out of memory")

    (x, weight, _, _), window = operands(rng, "same", "float32")
    monkeypatch.setattr(cudnn, "create_handle", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        k.conv2d(x, weight, None, window)


def test_without_cudnn(xp, rng):
    (x, weight, bias, gy), window = operands(rng, "depthwise", "float32")
    check(Convolutions(xp, None), x, weight, bias, gy, window)


@pytest.mark.parametrize("dtype", TYPES)
def test_tf32_is_for_those_who_allow_it(k, cudnn, rng, dtype):
    (x, weight, _, _), window = operands(rng, "one place", dtype)
    x = (x * 1.001).astype(dtype)
    expected = PLAIN.conv2d(np.asarray(x), np.asarray(weight), None, window)
    tolerance = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2}[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(k.conv2d(x, weight, None, window), expected, **close)
    mg.allow_tf32()
    y = k.conv2d(x, weight, None, window)
    if dtype == "float32":
        assert cudnn.built == 2 and not np.allclose(y, expected, **close)
        rounded = PLAIN.conv2d(to_tf32(x), np.asarray(weight, "float64"), None, window)
        np.testing.assert_allclose(y, rounded, **close)
    else:
        assert cudnn.built == 1
    built = cudnn.built
    mg.allow_tf32(False)
    np.testing.assert_allclose(k.conv2d(x, weight, None, window), expected, **close)
    assert cudnn.built == built


def test_work_goes_to_the_current_stream(k, xp, cudnn, rng):
    (x, weight, _, _), window = operands(rng, "same", "float32")
    for stream in (7, 9, 0):
        xp.stream = stream
        k.conv2d(x, weight, None, window)  # the stand-in compares
    assert cudnn.executed == 3 and len(cudnn.streams) == 1


def test_each_device_has_its_handle_and_plans(k, xp, cudnn, rng):
    (x, weight, _, _), window = operands(rng, "same", "float32")
    for device in (0, 1, 0):
        xp.device = device
        k.conv2d(x, weight, None, window)
    assert len(cudnn.streams) == 2 and cudnn.built == 2


def test_scratch_memory_is_bounded(k, cudnn, rng):
    (x, weight, _, _), window = operands(rng, "same", "float32")
    k.conv2d(x, weight, None, window)
    assert max(cudnn.cupy.sizes.values()) < WORKSPACE


@pytest.fixture
def load(monkeypatch):
    """``load``, as if the package were the module given, or not there for None."""

    def loaded(module):
        kernels.load.cache_clear()
        monkeypatch.setattr(kernels, "find_spec", lambda name: module and object())
        monkeypatch.setitem(sys.modules, "cudnn", module)
        return kernels.load()

    yield loaded
    kernels.load.cache_clear()


def test_load(load):
    module = ModuleType("cudnn")
    module.backend_version = lambda: 92801
    assert load(module) is module
    assert load(None) is None


def test_a_library_that_is_missing_is_said_once(load):
    def missing():
        raise RuntimeError("Unable to find symbol cudnnGetVersion")

    module = ModuleType("cudnn")
    module.backend_version = missing
    with pytest.warns(RuntimeWarning, match=r"cudnnGetVersion.*nvidia-cudnn-cu13"):
        assert load(module) is None
    assert kernels.load() is None


def test_the_package_has_what_is_used():
    """Names and keywords, against the package itself where it can be imported; it needs no GPU for that."""
    try:
        import cudnn
    except (
        ImportError,
        OSError,
    ) as error:  # some versions load cuDNN's library, with its drivers, at once
        pytest.skip(f"nvidia-cudnn-frontend: {error}")
    for kind, sums in kernels.TYPES.values():
        assert getattr(cudnn.data_type, kind) and getattr(cudnn.data_type, sums)
    for note in (*kernels.UNWANTED, "TENSOR_CORE"):
        getattr(cudnn.numerical_note, note)
    assert cudnn.heur_mode.A and cudnn.heur_mode.FALLBACK
    assert issubclass(cudnn.cudnnGraphNotSupportedError, Exception)
    assert not issubclass(cudnn.cudnnGraphNotSupportedError, RuntimeError)
    for name in ("create_handle", "set_stream", "backend_version"):
        assert callable(getattr(cudnn, name))
    # The newer of the two classes hands its keywords on to the older one, whose signatures are in its docstrings.
    compiled = cudnn._compiled_module
    graph = getattr(compiled, "backend_graph", cudnn.pygraph)
    window = ["pre_padding", "post_padding", "stride", "dilation"]
    keywords = {
        "__init__": ["handle", "io_data_type", "intermediate_data_type", "compute_data_type"],
        "conv_fprop": ["image", "weight", *window],
        "conv_wgrad": ["image", "loss", *window],
        "conv_dgrad": ["loss", "filter", *window],
    }
    for method, names in keywords.items():
        assert callable(getattr(cudnn.pygraph, method))
        text = getattr(graph, method).__doc__
        assert all(f"{name}: " in text for name in names), (method, text)
    parameters = inspect.signature(cudnn.pygraph.tensor).parameters
    assert {"dim", "stride", "data_type", "uid"} <= set(parameters)
    execute = list(inspect.signature(cudnn.pygraph.execute).parameters)
    assert execute[2:4] == ["workspace", "handle"]
    filters = ["deselect_numeric_notes", "deselect_workspace_greater_than"]
    for method in [*STEPS[1:], *filters, "get_workspace_size"]:
        assert callable(getattr(cudnn.pygraph, method))
    for method in ("set_output", "set_uid", "set_data_type", "set_dim", "set_stride"):
        assert callable(getattr(getattr(cudnn, "Tensor", cudnn.tensor), method))
