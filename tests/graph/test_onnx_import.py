"""What ``from_onnx`` reads: round trips, training, versions, and files that are damaged or hostile."""

from __future__ import annotations

import os
import tracemalloc
from functools import partial

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
    model, x = (
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU()),
        mg.arange(18).reshape(6, 3),
    )
    y, *new = round_trip(model, x, path=path)(x)
    close(y, model(x), 1e-6)
    for moved, buffer in zip(new, model[1].buffers(), strict=True):
        close(moved, buffer, 1e-6)


def test_it_can_be_trained_captured_and_saved(path):
    mg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 2))
    x = mg.tensor(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32))
    model(x)
    again = round_trip(model.eval(), x, path=path)
    for module in (model, again):
        (module(x) ** 2).sum().backward()
    for p, other in zip(model.parameters(), again.parameters(), strict=True):
        close(other.grad, p.grad, 1e-5)
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
INTS = {"i": np.array([1], np.int64)}


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


#: what onnx has no vectors for: nodes from x, arrays, and the answer
RIGHT = {
    "beta of 0": ([node("Gemm", "x w i", beta=0.0)], {"w": np.eye(3), "i": np.array(np.inf)}, lambda x: x),
    "backwards from before": (
        [node("Slice", "x m m i m")], INTS | {"m": np.array([-(2**62)])}, lambda x: x[:, :1]
    ),
    "softmax of nothing": ([node("Slice", "x i i i", "e"), node("LogSoftmax", "e")], INTS, lambda x: x[:, :0]),
    "sum of nothing": (
        [node("Slice", "x i i i", "e"), node("ReduceSum", "e i", keepdims=0)], INTS, lambda x: np.zeros(2)
    ),
    "sums without axes": ([node("ReduceSum", noop_with_empty_axes=1)], {}, lambda x: x),
    "not": ([node("Equal", "x x", "e"), node("Not", "e", "n"), node("Cast", "n", to=T.DOUBLE)], {}, lambda x: x * 0),
}  # fmt: skip


def of_2_by_2(x, before):
    """Sums over windows of 2 x 2, of as many as x has numbers, padded before or after them."""
    p = np.pad(x, [(int(before), int(not before))] * 2)
    return (p[:-1, :-1] + p[1:, :-1] + p[:-1, 1:] + p[1:, 1:]).reshape(1, 1, *x.shape)


IMAGE = {"shape": np.array([1, 1, 2, 3]), "k": np.ones((1, 1, 2, 2))}
for pad in ("UPPER", "LOWER"):
    nodes = [node("Reshape", "x shape", "a"), node("Conv", "a k", auto_pad=f"SAME_{pad}")]
    RIGHT[f"same size, {pad}"] = nodes, IMAGE, partial(of_2_by_2, before=pad == "LOWER")


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers(name):
    """In float64, nearly to the last digit."""
    nodes, values, expected = RIGHT[name]
    arrays = [(k, v if v.dtype == np.int64 else v.astype(np.float64)) for k, v in values.items()]
    proto = model(nodes, arrays)
    proto.graph.input[0].type.tensor_type.elem_type = T.DOUBLE
    x = X.numpy().astype(np.float64)
    found = mg.from_onnx(proto.SerializeToString())(mg.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected(x), rtol=1e-13, atol=0)


def test_bounds_that_are_initializers_are_not_trained():
    low = [("low", np.float32(0.5))]
    read = mg.from_onnx(model([node("Clip", "x low")], low).SerializeToString())
    assert not read.state_dict()
    close(mg.capture(read, X)(X), X.clip(0.5))


# --- damaged and hostile files ---


def valid():
    arrays = {"w": np.ones((3, 2), np.float32), "b": np.ones(2, np.float32)}
    return model([node("Gemm", "x w b")], arrays.items())


def changed(change):
    proto = valid()
    change(proto)
    return proto


def weight(**fields):
    """A file whose first weight has other fields."""
    proto = valid()
    for name, value in fields.items():
        if name == "dims":
            proto.graph.initializer[0].dims[:] = value
        else:
            setattr(proto.graph.initializer[0], name, value)
    return proto


def external(proto):
    proto.graph.initializer[0].ClearField("raw_data")
    proto.graph.initializer[0].data_location = T.EXTERNAL
    proto.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")


SECRET = helper.make_tensor("v", T.FLOAT, [1], [1.0])
SECRET.external_data.add(key="location", value="/etc/passwd")
#: files that are refused, and words of the message
HOSTILE = {
    "empty": (onnx.ModelProto(), "it has no outputs"),
    "fewer elements": (weight(dims=[3, 3]), "cannot reshape array of size 6"),
    "part of one": (weight(raw_data=b"12345"), "must be a multiple of element size"),
    "negative": (weight(dims=[-3, -2]), "the tensor 'w' has an impossible shape (-3, -2)"),
    "huge": (weight(dims=[2**62, 4]), "an impossible shape"),
    "many sizes": (weight(dims=[1] * 65), "maximum supported dimension"),
    "huge and empty": (weight(dims=[2**62, 2**62, 0], raw_data=b""), "an impossible shape"),
    "bfloat16": (weight(data_type=T.BFLOAT16), "a dtype (number 16) that is not read"),
    "strings": (weight(data_type=T.STRING), "a dtype (number 8) that is not read"),
    "same name": (changed(lambda p: p.graph.initializer.append(p.graph.initializer[0])), "is not unique"),
    "no name": (weight(name=""), "must have a non-empty name"),
    "another file": (changed(external), "the tensor 'w' is in another file, which is not opened"),
    "a constant of another file": (model([node("Constant", "", value=SECRET)]), "'v' is in another file"),
    "another domain": (model([node("Neg", domain="com.evil")]), "the operator com.evil.Neg is not read"),
    "functions": (changed(lambda p: p.functions.add(name="f", domain="d")), "functions, training_info or"),
    "a graph as an attribute": (model([node("Gemm", "x x", alpha=valid().graph)]), "Mismatched attribute type"),
    "no version": (changed(lambda p: p.ClearField("opset_import")), "of versions [], expected one from 13 to 28"),
    "too new": (model([node("Relu")], opset=29), "of versions [29], expected one from 13 to 28"),
    "too old": (model([node("Relu")], opset=12), "of versions [12], expected one from 13 to 28"),
    "unknown": (model([node("Evil")]), "node 0 (Evil): the operator ai.onnx.Evil is not read"),
    "control flow": (model([node("Loop")]), "the operator ai.onnx.Loop is not read"),
    "of transformers": (model([node("Gelu")]), "the operator ai.onnx.Gelu is not read"),
    "undefined": (model([node("Add", "x z")]), "topologically sorted"),
    "a cycle": (model([node("Add", "x b", "a"), node("Neg", "a", "b")]), "topologically sorted"),
    "made twice": (model([node("Neg"), node("Abs")]), "single static assignment"),
    "makes its input": (model([node("Neg", "x", "x")]), "single static assignment"),
    "no such output": (model([node("Neg", "x", "z")]), "Graph output 'y' is not an output"),
    "no outputs": (model([node("Neg")], outputs=()), "it has no outputs"),
    "too few": (model([node("Add", "x")]), "input size 1 not in range"),
    "of any number none": (model([helper.make_node("Max", [], ["y"])]), "input size 0 not in range"),
    "left out": (model([helper.make_node("Add", ["x", ""], ["y"])]), "has an empty string"),
    "more outputs": (model([node("MaxPool", "x", "z y", kernel_shape=[1])]), "only the first output is computed"),
    "unknown attribute": (model([node("Neg", evil=1)]), "Unrecognized attribute: evil"),
    "attribute that is not read": (model([node("Pad", "x i", mode="edge")], INTS.items()), "argument 'mode'"),
    "overhang": (model([node("MaxPool", kernel_shape=[2], ceil_mode=1)]), "argument 'ceil_mode'"),
    "training": (model([node("BatchNormalization", "x x x x x", training_mode=1)]), "argument 'training_mode'"),
    "missing attribute": (model([node("Concat", "x x")]), "Required attribute 'axis' is missing"),
    "negative input": (model([node("Neg")], shape=(-1, 3)), "its input 'x' is no tensor of a shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name):
    proto, words = HOSTILE[name]
    with refuses(ValueError, words) as caught:
        mg.from_onnx(proto.SerializeToString())
    assert str(caught.value).startswith("from_onnx: these bytes: ")


def test_what_is_changed_above_was_valid():
    close(mg.from_onnx(valid().SerializeToString())(X), X.sum(1, keepdims=True) + mg.ones((2, 2)))


DOUBLE = [helper.make_node("Concat", [f"x{i}"] * 2, [f"x{i + 1}"], axis=0) for i in range(60)]
DOUBLE[0].input[:] = "x", "x"
COPIES = [node("Exp", f"e{i}" if i else "e", f"e{i + 1}") for i in range(30)]
GROW, TALL, AT = (
    node("Expand", "x square", "e"),
    node("Reshape", "x tall", "a"),
    node("Expand", "zero n", "j"),
)
FLOATS = {"w": (3, 2), "b": (4, 2, 2), "v": (3,), "one": (1, 1, 1, 1)}
SHAPES = {"square": (2**13, 2**13), "image": (1, 1, 2**12, 2**12), "huge": (2**40, 3), "tall": (2**20, -1),
          "wide": (-1, 2**20), "hollow": (0, 2**40), "column": (-1, 1), "n": (2**24,), "zero": (0,), "two": (2,),
          "p": (2**40, 0)}  # fmt: skip
ARRAYS = {name: np.ones(shape, np.float32) for name, shape in FLOATS.items()} | {"d": np.ones(3)}
ARRAYS |= {name: np.array(shape, np.int64) for name, shape in SHAPES.items()}
#: small files that ask for much: shape of x, nodes, and which one is refused
COSTLY = {
    "pad": ((2,), [node("Pad", "x p")], "node 0 (Pad)"),
    "expand": ((1, 1), [node("Expand", "x huge")], "node 0 (Expand)"),
    "concat": ((2, 3), [*DOUBLE, node("Neg", "x60")], "(Concat)"),
    "outer": ((2**15,), [node("Reshape", "x column", "c"), node("Add", "x c")], "node 1 (Add)"),
    "copies": ((1, 1), [GROW, *COPIES, node("Neg", "e30")], "(Exp)"),
    "product": ((1, 1), [GROW, node("MatMul", "e e")], "node 1 (MatMul)"),
    "empty product": ((0,), [TALL, node("Reshape", "x wide", "c"), node("MatMul", "a c")], "node 2 (MatMul)"),
    "empty sum": (
        (0,), [node("Reshape", "x hollow", "a", allowzero=1), node("ReduceSum", "a zero")], "node 1 (ReduceSum)"
    ),
    "gather": ((1, 99), [AT, node("Gather", "x j")], "node 1 (Gather)"),
    "a long shape": ((1,), [AT, node("Reshape", "x j")], "node 1 (Reshape)"),
    "pads": (
        (1, 1, 4, 4),
        [node("AveragePool", kernel_shape=[2, 2], pads=[2**32] * 4, count_include_pad=1)],
        "node 0 (AveragePool)",
    ),
    "window": (
        (1, 1, 1, 1),
        [node("AveragePool", kernel_shape=[10**4] * 2, pads=[9999] * 4, count_include_pad=1)],
        "node 0 (AveragePool): it needs",
    ),
    "kernel": ((1, 1, 1, 1), [node("Expand", "one image", "g"), node("Conv", "x g", pads=[2**12] * 4)], "(Conv)"),
    "stride": ((1, 1, 2, 2), [node("ConvTranspose", "x one", strides=[2**62, 1])], "node 0 (ConvTranspose)"),
    "output padding": (
        (1, 1, 2, 2),
        [node("ConvTranspose", "x one", strides=[2**20] * 2, output_padding=[2**20 - 1] * 2)],
        "node 0 (ConvTranspose)",
    ),
}  # fmt: skip


def with_arrays(nodes, shape):
    names = {name for n in nodes for name in n.input}
    arrays = [(k, v) for k, v in ARRAYS.items() if k in names]
    return model(nodes, arrays, shape=shape).SerializeToString()


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_too_much_is_refused_before(name):
    shape, nodes, where = COSTLY[name]
    tracemalloc.start()
    with refuses(ValueError, where):
        mg.from_onnx(with_arrays(nodes, shape), max_bytes=2**29)(mg.ones(shape))
    assert tracemalloc.get_traced_memory()[1] < 2**31
    tracemalloc.stop()


def test_the_bound_is_per_node_and_can_be_raised():
    content = model(
        [node("Pad", "x p")], {"p": np.array([0, 0, 0, 97])}.items()
    ).SerializeToString()
    assert mg.from_onnx(content, max_bytes=824)(X).shape == (2, 100)
    with refuses(ValueError, "OnnxModel: node 0 (Pad): it needs 824 bytes"):
        mg.from_onnx(content, max_bytes=823)(X)


#: files that are read, but whose nodes have no answer: shape of x, node, words
WITHOUT_ANSWER = {
    "argmax of a number": ((), node("ArgMax"), "node 0 (ArgMax): argmax: axis 0 is out of range"),
    "all padding": ((1, 1, 4, 4), node("MaxPool", kernel_shape=[2, 2], pads=[3] * 4), "at most half of the window"),
    "padding on one side": ((1, 1, 4, 4), node("MaxPool", kernel_shape=[2, 2], pads=[1, 0, 0, 0]), "symmetric pads"),
    "uncounted": ((1, 1, 4, 4), node("AveragePool", kernel_shape=[2, 2], pads=[1] * 4), "counted in means"),
    "dilations": ((1, 1, 4, 4), node("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), "expected no dilations"),
    "one axis": ((1, 1, 4), node("MaxPool", kernel_shape=[2]), "over two axes"),
    "many places": ((1, 1, 200, 200), node("MaxPool", kernel_shape=[200, 200]), "at most 32767 values"),
    "three axes": ((1, 1, 2, 2, 2), node("MaxPool", kernel_shape=[2, 2, 2]), "over two axes"),
    "another kernel": ((1, 1, 4, 4), node("Conv", "x one", kernel_shape=[2, 2]), "kernel_shape"),
    "dtypes": ((2, 3), node("Add", "x d"), "expected input 1 of dtype float32, got float64"),
    "indices of floats": ((2, 3), node("Gather", "x v"), "expected input 1 of dtype int32, int64"),
    "index": ((2, 3), node("Gather", "x two"), "node 0 (Gather)"),
    "squeezed away": ((2, 0), node("Squeeze", "x zero"), "cannot select an axis to squeeze out"),
    "a larger bias": ((2, 3), node("Gemm", "x w b"), "node 0 (Gemm)"),
    "twice": ((2, 3), node("Transpose", perm=[0, 0], name="turn"), "OnnxModel: node 0 (Transpose, 'turn'): "),
    "both pads": ((1, 1, 4, 4), node("MaxPool", kernel_shape=[2, 2], auto_pad="VALID", pads=[1] * 4), "auto_pad"),
    "transposed": ((1, 1, 4, 4), node("ConvTranspose", "x one", auto_pad="SAME_UPPER"), "auto_pad"),
    "integers": ((2, 3), node("Div", "two two"), "the quotient of integers is not read"),
    "axis": ((2, 3), node("Softmax", axis=2**63 - 1), "is out of range for 2"),
    "strings": ((2, 3), node("Cast", to=T.STRING), "node 0 (Cast)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_ANSWER)
def test_without_an_answer_the_node_is_named(name):
    shape, operator, words = WITHOUT_ANSWER[name]
    read = mg.from_onnx(with_arrays([operator], shape))
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
