"""What ``from_onnx`` reads: round trips, training, versions, and files that are damaged or hostile."""

from __future__ import annotations

import math
import os
import tracemalloc

import numpy as np
import pytest
from helpers import close, equal, refuses
from test_all_models import BATCH_NORM, DROPOUT, PLAIN

import minigrad as mg
from minigrad import nn

onnx = pytest.importorskip("onnx", reason="reads ONNX files")
helper, T = onnx.helper, onnx.TensorProto

MODELS = BATCH_NORM | DROPOUT | PLAIN


def round_trip(function, *inputs, path):
    mg.capture(function, *inputs).to_onnx(path)
    return mg.from_onnx(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


# --- what it is good for ---


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name, path):
    """The same outputs, parameters and buffers; and from the second trip on the same file."""
    case = MODELS[name]
    model, (x, _) = case.trained(3).eval(), case.batch(6, seed=1)
    again = round_trip(model, x, path=path)
    with mg.no_grad():
        close(again(x), model(x), 1e-6)
    for kind in (nn.Module.named_parameters, nn.Module.named_buffers):
        mine = {n: t.numpy() for n, t in kind(model) if not n.endswith("num_batches")}
        others = {n: t.numpy() for n, t in kind(again)}
        assert mine.keys() == others.keys()
        for n in mine:
            np.testing.assert_array_equal(mine[n], others[n])
    third = round_trip(again, x, path=path)
    with mg.no_grad():
        equal(third(x), again(x))


def test_training_graphs_come_back(path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU())
    x = mg.arange(18).reshape(6, 3)
    again = round_trip(model, x, path=path)
    y, mean, var, count = again(x)
    close(y, model(x), 1e-6)
    for new, buffer in zip((mean, var, count), model[1].buffers(), strict=True):
        close(new, buffer, 1e-6)


def test_it_can_be_trained_captured_and_saved(path):
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2))
    x = mg.tensor(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32))
    model(x)
    again = round_trip(model.eval(), x, path=path)
    optimizer = mg.optim.Adam(again.parameters(), lr=0.05)

    @mg.jit
    def step(x):
        optimizer.zero_grad()
        loss = mg.softmax_cross_entropy(again(x), [0, 1, 0, 1, 0, 1])
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x).item() for _ in range(50)]
    assert losses[-1] < 0.5 * losses[0]
    assert len(step.graphs) == 1
    model.load_state_dict(again.state_dict(), strict=False)
    close(model(x), again(x), 1e-6)


def test_gradients_are_those_of_the_original(path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Sigmoid())
    x = mg.arange(12).reshape(4, 3)
    model(x)
    again = round_trip(model.eval(), x, path=path)
    for module in (model, again):
        (module(x) ** 2).sum().backward()
    found = {n: p.grad for n, p in again.named_parameters()}
    for n, p in model.named_parameters():
        close(found[n], p.grad, 1e-6)


def test_it_moves_between_backends(backend, path):
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4))
    x = mg.arange(6).reshape(2, 3)
    layer(x)
    layer.eval()
    again = round_trip(lambda x: layer(x)[[1, 0]] * 2, x, path=path).to(backend)
    assert {t.backend for t in again.parameters()} == {backend}
    close(again(x), layer(x)[[1, 0]] * 2, 1e-6)
    assert again(x).backend == backend


def test_buffers_that_no_batch_norm_uses_stay_buffers(path):
    layer = nn.BatchNorm((3, 4), axis=(1, 2))
    x = mg.arange(24).reshape(2, 3, 4)
    layer(x)
    again = round_trip(layer.eval(), x, path=path)
    assert {n for n, _ in again.named_buffers()} == {"running_mean", "running_var"}
    assert {n for n, _ in again.named_parameters()} == {"gamma", "beta"}


def test_inputs_have_to_fit(path):
    again = round_trip(nn.Linear(3, 2), mg.ones((4, 3)), path=path)
    with refuses(ValueError, "expected input of shape (4, 3) and dtype float32, got shape (5, 3)"):
        again(mg.ones((5, 3)))
    with refuses(ValueError, "and dtype float64"):
        again(mg.ones((4, 3)).astype(np.float64))
    with refuses(TypeError, "expected 1 inputs (input), got 0"):
        again()
    with refuses(TypeError, "wrap it with minigrad.tensor"):
        again(np.ones((4, 3), np.float32))


# --- files by hand ---


def model(nodes, initializers=(), opset=21, shape=(2, 3), outputs=("y",)):
    """A file of nodes from x to the outputs."""
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("x", T.FLOAT, shape)],
        [helper.make_tensor_value_info(name, T.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in initializers],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def node(kind, inputs="x", outputs="y", **attributes):
    """One operator; x and y are its input and output unless others are named."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


X = mg.arange(6).reshape(2, 3) - 2
INTS = {"i": np.array([1], np.int64), "j": np.array([3], np.int64)}
#: operators as older versions have them, with attributes for what became inputs
OLDER = {
    "unsqueeze": (11, [node("Unsqueeze", axes=[0, -1])], lambda x: x.reshape(1, 2, 3, 1)),
    "squeeze": (
        11,
        [node("Unsqueeze", "x", "u", axes=[0]), node("Squeeze", "u", axes=[0])],
        lambda x: x,
    ),
    "slice": (9, [node("Slice", starts=[1], ends=[9], axes=[1])], lambda x: x[:, 1:]),
    "pad": (
        10,
        [node("Pad", pads=[0, 1, 0, 0], value=3.0)],
        lambda x: mg.pad(x, [(0, 0), (1, 0)], 3),
    ),
    "clip": (6 + 1, [node("Clip", min=0.0, max=2.0)], lambda x: x.clip(0, 2)),
    "clip from below": (10, [node("Clip", min=0.5)], lambda x: x.clip(0.5)),
    "sums": (12, [node("ReduceSum", axes=[1], keepdims=0)], lambda x: x.sum(1)),
    "means": (17, [node("ReduceMean", axes=[0])], lambda x: x.mean(0, keepdims=True)),
    "softmax": (11, [node("Softmax", axis=0)], lambda x: mg.softmax(x.reshape(1, 6)).reshape(2, 3)),
    "dropout": (10, [node("Dropout", "x", "y mask", ratio=0.3)], lambda x: x),
    "not": (21, [node("Equal", "x x", "e"), node("Not", "e")], lambda x: x != x),
}


@pytest.mark.parametrize("name", OLDER)
def test_older_versions(name):
    opset, nodes, expected = OLDER[name]
    nodes[-1].input[:] = nodes[-1].input or ["x"]
    read = mg.from_onnx(model(nodes, opset=opset).SerializeToString())
    close(read(X), expected(X), 1e-6)


def test_shapes_are_computed_on_the_host_and_are_constants_when_captured():
    """As PyTorch writes ``x.reshape(x.shape[0], -1)``."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "new", axis=0),
        node("Reshape", "x new"),
    ]
    values = {"zero": 0, "axes": [0], "rest": [-1]}
    arrays = [(k, np.array(v, np.int64)) for k, v in values.items()]
    read = mg.from_onnx(model(nodes, arrays, shape=("n", 3, 4)).SerializeToString())
    for n in (2, 5):
        x = mg.ones((n, 3, 4))
        assert read(x).shape == (n, 12)
        assert [c.name for c in mg.capture(read, x).calls] == ["reshape"]
    assert not read.state_dict()


def test_errors_of_a_run_name_the_node():
    read = mg.from_onnx(model([node("Transpose", perm=[0, 0], name="turn")]).SerializeToString())
    with refuses(
        ValueError, "OnnxModel: node 0 (Transpose, 'turn'): perm (0, 0) is no permutation"
    ):
        read(X)
    huge = [("s", np.array([2**40, 3], np.int64))]
    read = mg.from_onnx(model([node("Expand", "x s")], huge, shape=(1, 3)).SerializeToString())
    with refuses(ValueError, "read it with a larger max_bytes"):
        read(mg.ones((1, 3)))


BIG = 2**62
#: what older readers got wrong, or what onnx has no vectors for: opset, nodes from x, and the answer
RIGHT = {
    "an integer quotient": (
        [node("Div", "big three", "q"), node("Cast", "q", "y", to=T.DOUBLE)],
        {"big": np.array([BIG + 1, -BIG - 1], np.int64), "three": np.array(3, np.int64)},
        lambda x: np.array([BIG // 3, -(BIG // 3)], float),
    ),
    "beta of 0": ([node("Gemm", "x w i", beta=0.0)], {"w": np.eye(3), "i": np.array(np.inf)}, lambda x: x),
    "backwards from before": (
        [node("Slice", "x m m axis m")],
        {"m": np.array([-(2**62)]), "axis": np.array([1])},
        lambda x: x[:, :1],
    ),
    "softmax of nothing": (
        [node("Slice", "x i i i", "e"), node("LogSoftmax", "e")],
        {"i": np.array([1])},
        lambda x: x[:, :0],
    ),
    "sum of nothing": (
        [node("Slice", "x i i i", "e"), node("ReduceSum", "e i", keepdims=0)],
        {"i": np.array([1])},
        lambda x: np.zeros(2),
    ),
    "elu near 0": (
        [node("Mul", "x e", "s"), node("Elu", "s")],
        {"e": np.array(1e-6)},
        lambda x: np.where(x < 0, np.expm1(x * 1e-6), x * 1e-6),
    ),
    "gelu": ([node("Gelu")], {}, lambda x: [[v * math.erfc(-v / 2**0.5) / 2 for v in row] for row in x]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers(name):
    """To the last digits but few, also in float64."""
    nodes, values, expected = RIGHT[name]
    arrays = [(k, v if v.dtype == np.int64 else v.astype(np.float64)) for k, v in values.items()]
    proto = model(nodes, arrays)
    proto.graph.input[0].type.tensor_type.elem_type = T.DOUBLE
    x = X.numpy().astype(np.float64)
    found = mg.from_onnx(proto.SerializeToString())(mg.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected(x), rtol=1e-13, atol=0)


@pytest.mark.parametrize(("opset", "each"), [(18, 2), (21, 4)])
def test_group_norm_has_parameters_for_groups_and_later_for_channels(opset, each):
    scale, x = np.arange(1, each + 1, dtype=np.float32), mg.arange(24).reshape(2, 4, 3)
    nodes = [node("GroupNormalization", "x s s", num_groups=2)]
    read = mg.from_onnx(model(nodes, [("s", scale)], opset, (2, 4, 3)).SerializeToString())
    gamma = mg.tensor(np.repeat(scale, 4 // each))
    close(read(x), mg.group_norm(x, 2, gamma, gamma), 1e-6)


def test_bounds_that_are_initializers_are_not_trained():
    low = [("low", np.float32(0.5))]
    read = mg.from_onnx(model([node("Clip", "x low")], low).SerializeToString())
    assert not read.state_dict()
    close(mg.capture(read, X)(X), X.clip(0.5))


# --- damaged and hostile files ---


def valid():
    return model(
        [node("Gemm", "x w b")], [("w", np.ones((3, 2), np.float32)), ("b", np.ones(2, np.float32))]
    )


def changed(change):
    proto = valid()
    change(proto)
    return proto.SerializeToString()


def weight(**fields):
    """A file whose first weight has other fields."""

    def change(proto):
        for name, value in fields.items():
            if name == "dims":
                proto.graph.initializer[0].dims[:] = value
            else:
                setattr(proto.graph.initializer[0], name, value)

    return changed(change)


def external(proto):
    w = proto.graph.initializer[0]
    w.ClearField("raw_data")
    w.data_location = T.EXTERNAL
    w.external_data.add(key="location", value="../../etc/passwd")


def twice(proto):
    proto.graph.initializer.append(proto.graph.initializer[0])


def elsewhere(proto):
    proto.graph.node[0].domain = "com.evil"


def function(proto):
    proto.functions.add(name="f", domain="d")


def subgraph(proto):
    proto.graph.node[0].attribute.append(helper.make_attribute("alpha", proto.graph))


def file_of(*nodes, **settings):
    return lambda: model(list(nodes), **settings).SerializeToString()


HOSTILE = {
    "empty": (lambda: b"", "it has no graph"),
    "no protobuf": (lambda: b"\x93NUMPY" * 9, "it is no complete ONNX file"),
    "cut": (lambda: valid().SerializeToString()[:-20], "it is no complete ONNX file"),
    "fewer elements": (lambda: weight(dims=[3, 3]), "initializer 'w' has 6 elements, expected those of shape (3, 3)"),
    "part of one": (lambda: weight(raw_data=b"12345"), "has 1.25 elements"),
    "negative": (lambda: weight(dims=[-3, -2]), "an impossible shape (-3, -2)"),
    "huge": (lambda: weight(dims=[2**62, 4]), "an impossible shape"),
    "many sizes": (lambda: weight(dims=[1] * 65), "an impossible shape"),
    "huge and empty": (lambda: weight(dims=[2**62, 2**62, 0], raw_data=b""), "an impossible shape"),
    "bfloat16": (lambda: weight(data_type=T.BFLOAT16), "a dtype (number 16) that is not read"),
    "strings": (lambda: weight(data_type=T.STRING), "a dtype (number 8) that is not read"),
    "no dtype": (lambda: weight(data_type=0), "a dtype (number 0) that is not read"),
    "same name": (lambda: changed(twice), "initializer 'w' has no name of its own"),
    "no name": (lambda: weight(name=""), "initializer '' has no name of its own"),
    "another file": (lambda: changed(external), "initializer 'w' lies in another file, which is not opened"),
    "another domain": (lambda: changed(elsewhere), "the operator com.evil.Gemm is not read"),
    "functions": (lambda: changed(function), "functions of its own are not read"),
    "a graph as an attribute": (lambda: changed(subgraph), "expected the attribute 'alpha' to be of type float"),
    "no version": (lambda: changed(lambda p: p.ClearField("opset_import")), "it names 0 versions"),
    "too new": (file_of(node("Relu"), opset=29), "version 29, expected 7 to 28"),
    "too old": (file_of(node("Relu"), opset=6), "version 6, expected 7 to 28"),
    "unknown": (file_of(node("Evil")), "node 0 (Evil): the operator Evil is not read"),
    "control flow": (file_of(node("Loop")), "the operator Loop is not read"),
    "undefined": (file_of(node("Add", "x z")), "node 0 (Add): its input 'z' is not known before it"),
    "a cycle": (file_of(node("Add", "x b", "a"), node("Neg", "a", "b")), "its input 'b' is not known before it"),
    "itself": (file_of(node("Add", "x y", "y")), "its input 'y' is not known before it"),
    "made twice": (file_of(node("Neg"), node("Abs")), "node 1 (Abs): output 'y' has no name of its own"),
    "makes its input": (file_of(node("Neg", "x", "x")), "output 'x' has no name of its own"),
    "no such output": (file_of(node("Neg", "x", "z")), "its output 'y' is made by no node"),
    "no outputs": (file_of(node("Neg"), outputs=()), "it has no outputs"),
    "too few": (file_of(node("Add", "x")), "expected 2 to 2 inputs, got 1"),
    "too many": (file_of(node("Neg", "x x")), "expected 1 to 1 inputs, got 2"),
    "of any number none": (file_of(helper.make_node("Max", [], ["y"])), "expected 1 to 2147483647 inputs, got 0"),
    "more outputs": (file_of(node("Neg", "x", "y z")), "2 outputs, of which 1 are computed"),
    "unknown attribute": (file_of(node("Neg", evil=1)), "the attribute 'evil' is not read"),
    "another type": (file_of(node("Concat", "x x", axis="1")), "expected the attribute 'axis' to be of type int"),
    "missing attribute": (file_of(node("Concat", "x x")), "the attribute 'axis' is missing"),
    "removed": (file_of(node("Xor", "x x")), "node 0 (Xor): the operator Xor is not read in version 21"),
    "not yet there": (file_of(node("Gelu"), opset=19), "the operator Gelu is not read in version 19"),
    "an attribute of another version": (file_of(node("Clip", min=0.0)), "the attribute 'min' is not read"),
    "left out": (file_of(helper.make_node("Add", ["x", ""], ["y"])), "input 1 is left out"),
    "statistics of inference": (
        file_of(node("BatchNormalization", "x x x x x", "y mean")),
        "2 outputs, of which 1 are computed",
    ),
    "two values": (file_of(node("Constant", "", value_int=1, value_float=1.0)), "expected one value, got 2"),
    "no flag": (file_of(node("ReduceSum", keepdims=2)), "expected keepdims 0 or 1, got 2"),
    "cast to strings": (file_of(node("Cast", to=T.STRING)), "a dtype (number 8) that is not read"),
    "negative input": (file_of(node("Neg"), shape=(-1, 3)), "a negative size in (-1, 3)"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name, path):
    make, words = HOSTILE[name]
    path.write_bytes(make())
    with refuses(ValueError, f"from_onnx: {path}: ") as caught:
        mg.from_onnx(path)
    assert words in str(caught.value)


def test_what_is_changed_above_was_valid():
    close(mg.from_onnx(valid().SerializeToString())(X), X.sum(1, keepdims=True) + mg.ones((2, 2)))


def shaped(*shape):
    return np.array(shape, np.int64)


ONE = np.ones((1, 1, 1, 1), np.float32)
GROW, COUNT = [node("Expand", "x s", "e")], {"s": shaped(2**13, 2**13)}
DOUBLE = [helper.make_node("Concat", [f"x{i}"] * 2, [f"x{i + 1}"], axis=0) for i in range(60)]
DOUBLE[0].input[:] = "x", "x"
COPIES = [node("Exp", f"e{i}" if i else "e", f"e{i + 1}") for i in range(30)]
#: small files that ask for much: shape of x, nodes, initializers, and which node is refused for what
COSTLY = {
    "pad": ((2,), [node("Pad", "x p", "y")], {"p": shaped(2**40, 0)}, "node 0 (Pad)"),
    "reflect": ((2,), [node("Pad", "x p", "y", mode="reflect")], {"p": shaped(2**27, 0)}, "node 0 (Pad)"),
    "expand": ((1, 1), [node("Expand", "x s")], {"s": shaped(2**40, 3)}, "node 0 (Expand)"),
    "concat": ((2, 3), [*DOUBLE, node("Neg", "x60")], {}, "(Concat)"),
    "outer": ((2**15,), [node("Reshape", "x s", "c"), node("Add", "x c")], {"s": shaped(-1, 1)}, "node 1 (Add)"),
    "copies": ((1, 1), [*GROW, *COPIES, node("Neg", "e30")], COUNT, "(Exp)"),
    "product": ((1, 1), [*GROW, node("MatMul", "e e")], COUNT, "node 1 (MatMul)"),
    "empty product": (
        (0,),
        [node("Reshape", "x s", "a"), node("Reshape", "x t", "b"), node("MatMul", "a b")],
        {"s": shaped(2**20, -1), "t": shaped(-1, 2**20)},
        "node 2 (MatMul)",
    ),
    "empty sum": (
        (0,),
        [node("Reshape", "x s", "a", allowzero=1), node("ReduceSum", "a z")],
        {"s": shaped(0, 2**40), "z": shaped(0)},
        "node 1 (ReduceSum)",
    ),
    "gather": (
        (1, 99),
        [node("Expand", "i s", "j"), node("Gather", "x j")],
        {"i": shaped(0), "s": shaped(2**24)},
        "node 1 (Gather)",
    ),
    "a long shape": (
        (1,),
        [node("Expand", "i s", "j"), node("Reshape", "x j")],
        {"i": shaped(1), "s": shaped(2**20)},
        "node 1 (Reshape)",
    ),
    "pads": ((1, 1, 4, 4), [node("AveragePool", kernel_shape=[2, 2], pads=[2**32] * 4)], {}, "node 0 (AveragePool)"),
    "window": (
        (1, 1, 1, 1), [node("AveragePool", kernel_shape=[10**4] * 2, pads=[9999] * 4)], {}, "node 0 (AveragePool)",
    ),
    "kernel": (
        (1, 1, 1, 1),
        [node("Expand", "w s", "k"), node("Conv", "x k", pads=[2**12] * 4)],
        {"w": ONE, "s": shaped(1, 1, 2**12, 2**12)},
        "node 1 (Conv)",
    ),
    "stride": ((1, 1, 2, 2), [node("ConvTranspose", "x w", strides=[2**62, 1])], {"w": ONE}, "node 0 (ConvTranspose)"),
    "output padding": (
        (1, 1, 2, 2),
        [node("ConvTranspose", "x w", strides=[2**20] * 2, output_padding=[2**20 - 1] * 2)],
        {"w": ONE},
        "node 0 (ConvTranspose)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_too_much_is_refused_before(name):
    shape, nodes, arrays, where = COSTLY[name]
    content = model(nodes, arrays.items(), shape=shape).SerializeToString()
    tracemalloc.start()
    with refuses(ValueError, where):
        mg.from_onnx(content, max_bytes=2**29)(mg.ones(shape))
    assert tracemalloc.get_traced_memory()[1] < 2**31
    tracemalloc.stop()


def test_the_bound_is_per_node_and_can_be_raised():
    content = model([node("Pad", "x p")], {"p": shaped(0, 0, 0, 97)}.items()).SerializeToString()
    assert mg.from_onnx(content, max_bytes=800)(X).shape == (2, 100)
    with refuses(ValueError, "it needs 800 bytes"):
        mg.from_onnx(content, max_bytes=799)(X)


STATISTICS = {"s": np.ones(3, np.float32)}
#: files that are read, but whose nodes have no answer: opset, shape of x, nodes, initializers, words
WITHOUT_ANSWER = {
    "argmax of a number": (21, (), [node("ArgMax")], {}, "node 0 (ArgMax): axis 0 is out of range"),
    "all padding": (21, (1, 1, 4, 4), [node("MaxPool", kernel_shape=[2, 2], pads=[3] * 4)], {}, "is all padding"),
    "all padding, dilated": (
        21, (1, 1, 4), [node("MaxPool", kernel_shape=[2], dilations=[9], pads=[6, 3])], {}, "is all padding",
    ),
    "average of padding": (21, (1, 1, 4), [node("AveragePool", kernel_shape=[2], pads=[2, 0])], {}, "is all padding"),
    "many places": (21, (1, 1, 200, 200), [node("MaxPool", kernel_shape=[200, 200])], {}, "at most 32767 values"),
    "dtypes": (21, (2, 3), [node("Add", "x d")], {"d": np.ones(3)}, "expected input 1 of dtype float32, got float64"),
    "indices of floats": (21, (2, 3), [node("Gather", "x s")], STATISTICS, "expected input 1 of dtype int32, int64"),
    "index": (21, (2, 3), [node("Gather", "x i")], {"i": shaped(2)}, "node 0 (Gather)"),
    "squeezed away": (21, (2, 0), [node("Squeeze", "x i")], {"i": shaped(0)}, "expected sizes of 1"),
    "a larger bias": (
        21,
        (2, 3),
        [node("Gemm", "x w b")],
        {"w": np.ones((3, 2), np.float32), "b": np.ones((4, 2, 2), np.float32)},
        "does not broadcast",
    ),
    "a larger scale": (
        21, (1, 3), [node("LayerNormalization", "x w")], {"w": np.ones((4, 3), np.float32)}, "does not broadcast",
    ),
    "negative perm": (21, (2, 3), [node("Transpose", perm=[-1, 0])], {}, "is no permutation"),
    "division by 0": (21, (2, 3), [node("Div", "i i", "j"), node("Cast", "j", to=1)], {"i": shaped(0)}, "divided by 0"),
    "no groups": (
        18, (2, 3), [node("GroupNormalization", "x e e", num_groups=0)], {"e": np.ones(0, np.float32)}, "node 0 (Group",
    ),
    "a mode": (21, (2, 3), [node("Pad", "x p", mode="mirror")], {"p": shaped(0, 0, 0, 0)}, "expected mode"),
    "both pads": (
        21, (1, 1, 4), [node("Conv", "x w", auto_pad="SAME_UPPER", pads=[1, 1])], {"w": ONE[0]}, "auto_pad or pads",
    ),
    "axis": (21, (2, 3), [node("Softmax", axis=2**63 - 1)], {}, "is out of range for 2"),
    "dimensions": (11, (2, 3), [node("Unsqueeze", axes=[*range(100)])], {}, "node 0 (Unsqueeze)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_ANSWER)
def test_without_an_answer_the_node_is_named(name):
    opset, shape, nodes, arrays, words = WITHOUT_ANSWER[name]
    read = mg.from_onnx(model(nodes, arrays.items(), opset, shape).SerializeToString())
    with refuses(ValueError, words):
        read(mg.ones(shape))


def test_too_large_a_file_is_refused_unread(path):
    with open(path, "wb") as file:
        os.truncate(file.fileno(), 2**31)  # of holes
    with refuses(ValueError, "a file of more than 2 GiB is no ONNX file"):
        mg.from_onnx(path)
    with pytest.raises(FileNotFoundError):
        mg.from_onnx(path.with_name("none.onnx"))


def test_damaged_files_are_refused_or_read(path):
    """Cut, or with bits and bytes changed: an answer or a ValueError, never anything else."""
    mg.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
    )
    x = mg.ones((3, 1, 4, 4))
    layers(mg.arange(48).reshape(3, 1, 4, 4))
    layers.eval()
    mg.capture(lambda x: layers(x)[:, ::-1] * 2, x).to_onnx(path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    read = refused = ran = 0
    for i in range(3000):
        damaged = bytearray(content)
        if i % 3 == 0:
            damaged = damaged[: rng.integers(len(content))]
        else:
            for at in rng.integers(len(content), size=rng.integers(1, 4)):
                damaged[at] = (
                    rng.integers(256) if i % 3 == 1 else damaged[at] ^ (1 << rng.integers(8))
                )
        try:
            model = mg.from_onnx(bytes(damaged))
        except ValueError:
            refused += 1
            continue
        read += 1
        try:
            with np.errstate(all="ignore"):
                model(x)
            ran += 1
        except (ValueError, TypeError):
            pass
    assert min(read, refused, ran) > 100
