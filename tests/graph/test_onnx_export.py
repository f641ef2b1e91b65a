"""What ``Graph.to_onnx`` writes: checked by onnx, run by ONNX Runtime, and refused where ONNX has no equivalent."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers import refuses
from test_all_models import BATCH_NORM, DROPOUT, PLAIN

import minigrad as mg
from minigrad import nn

onnx = pytest.importorskip("onnx", reason="writes ONNX files")

MODELS = BATCH_NORM | DROPOUT | PLAIN


def session(path):
    runtime = pytest.importorskip("onnxruntime", reason="runs the files that are written")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def outputs_of(path, *inputs):
    """What ONNX Runtime computes, by name."""
    run = session(path)
    feed = {i.name: x.numpy() for i, x in zip(run.get_inputs(), inputs, strict=True)}
    return dict(zip([o.name for o in run.get_outputs()], run.run(None, feed), strict=True))


def evaluated(path, x):
    """What the onnx package's own evaluator computes."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(str(path)).run(None, {"input": x.numpy()})


def exported(function, *inputs, path):
    """The file of what a function computes, and what it returns."""
    graph = mg.capture(function, *inputs)
    graph.to_onnx(path)
    return onnx.load(path), graph(*inputs)


def agrees(function, *inputs, path, tolerance=1e-5):
    """ONNX Runtime and minigrad agree about a function's results."""
    model, results = exported(function, *inputs, path=path)
    found = list(outputs_of(path, *inputs).values())
    results = results if isinstance(results, tuple) else (results,)
    for y, other in zip(results, found, strict=True):
        assert (y.dtype, y.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(other, y.numpy(), rtol=tolerance, atol=tolerance)
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_agrees_about_every_model_in_eval(name, path):
    case = MODELS[name]
    model, (x, _) = case.trained(3).eval(), case.batch(6, seed=1)
    file = agrees(model, x, path=path)
    assert {node.domain for node in file.graph.node} == {""}
    assert [o.version for o in file.opset_import] == [21]
    names = {i.name for i in file.graph.initializer}
    expected = {n for n in model.state_dict() if not n.endswith("num_batches")}
    assert names == expected


def test_recurrent_networks_are_written_with_their_state_as_inputs(path):
    lstm = MODELS["lstm"].trained(2)
    x, _ = MODELS["lstm"].batch(6)
    agrees(
        lambda x, h, c: lstm.fc(lstm.lstm(x, (h, c))[1][0]), x, *[mg.zeros((6, 8))] * 2, path=path
    )


#: batch norms over x of shape (8, 3, 5)
LAYERS = {
    "plain": lambda: nn.BatchNorm(3),
    "biased": lambda: nn.BatchNorm(3, ddof_running=0, ddof_norm=1),
    "average": lambda: nn.BatchNorm(3, momentum=None),
    "last axis": lambda: nn.BatchNorm(5, axis=-1),
    "two axes": lambda: nn.BatchNorm((3, 5), axis=(1, 2)),
    "not affine": lambda: nn.BatchNorm(3, center=False, scale=False),
    "debiased": lambda: nn.DebiasedBatchNorm(3, momentum=0.9999),
    "debiased average": lambda: nn.DebiasedBatchNorm(3, momentum=None),
    "ghost": lambda: nn.GhostBatchNorm(3, virtual_batch_size=4),
    "frozen": lambda: nn.BatchNorm(3).freeze(moving=False),
    "skip": lambda: nn.BatchNorm(3, on_nonfinite="skip"),
    "skip, debiased": lambda: nn.DebiasedBatchNorm(3, momentum=0.5, on_nonfinite="skip"),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:invalid value")
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_every_run_of_a_session_moves_statistics_from_the_same_start(name, before, path, rng):
    """With and without ONNX Runtime's optimizations; and by the reference evaluator, which is another program."""
    runtime = pytest.importorskip("onnxruntime", reason="runs the files that are written")
    layer = LAYERS[name]()
    batches = [rng.standard_normal((8, 3, 5)).astype(np.float32) * 3 + 2 for _ in range(4)]
    for x in batches[:before]:
        layer(mg.tensor(x))
    start = layer.state_dict()
    mg.capture(layer, mg.tensor(batches[2])).to_onnx(path)
    if layer.on_nonfinite == "skip":
        batches[3][0, 0, 0] = np.inf
    expected = []
    for x in batches[2:]:
        layer.load_state_dict(start)
        y = layer(mg.tensor(x)).numpy()
        expected.append([y, *(b.numpy() for b in layer.buffers())])
    for level in ("DISABLE_ALL", "ENABLE_ALL"):
        options = runtime.SessionOptions()
        options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_{level}")
        run = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for x, values in zip(batches[2:] * 2, expected * 2, strict=True):
            alike(run.run(None, {"input": x}), values)
    alike(evaluated(path, mg.tensor(batches[2])), expected[0])
    layer.load_state_dict(start)
    x = mg.tensor(batches[2])
    mg.capture(layer.eval(), x).to_onnx(path)
    alike(evaluated(path, x), [layer(x).numpy()])


def alike(found, expected):
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-5)


def test_statistics_of_a_layer_in_two_places(path):
    first = nn.DebiasedBatchNorm(3, momentum=0.5)
    x = mg.arange(12).reshape(4, 3)
    graph = mg.capture(lambda x: first(first(x) * 2), x)
    graph.to_onnx(path)
    found = [*outputs_of(path, x).values()]
    alike(found, [graph(x).numpy(), *(b.numpy() for b in first.buffers())])


def test_names_are_kept(path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 2))
    model(mg.arange(6).reshape(2, 3))
    file, _ = exported(model.eval(), mg.ones((2, 3)), path=path)
    assert [n.name for n in file.graph.node] == [
        "0/Gemm",
        "1/BatchNormalization",
        "2/Relu",
        "3/Gemm",
    ]
    assert list(file.graph.node[0].input) == ["input", "0.weight", "0.bias"]
    assert list(file.graph.node[1].input[1:]) == [
        f"1.{n}" for n in ("gamma", "beta", "running_mean", "running_var")
    ]
    assert ([i.name for i in file.graph.input], [o.name for o in file.graph.output]) == (
        ["input"],
        ["output"],
    )
    weight = onnx.numpy_helper.to_array(file.graph.initializer[0])
    np.testing.assert_array_equal(weight, model[0].weight.numpy())


INDICES = np.array([2, 0, -1])
#: functions of x (2, 3, 4) and y of the same shape
FUNCTIONS = {
    "arithmetic": lambda x, y: (x + y) * 2 - x / (abs(y) + 1) + -x,
    "powers": lambda x, y: abs(x) ** 2.5 + mg.exp(y) ** x,
    "extremes": lambda x, y: mg.maximum(x, y) + mg.minimum(x, 0.5),
    "comparisons": lambda x, y: (x < y, x <= 0, x > y, x >= y, x == x, x != y, mg.where(x > 0, x, y)),
    "elementwise": lambda x, y: mg.log(abs(x) + 1) + mg.sqrt(abs(y)) + mg.tanh(x) + mg.exp(y),
    "activations": lambda x, y: mg.relu(x) + mg.sigmoid(y) + mg.softmax(x, 1) + mg.log_softmax(y),
    "more activations": lambda x, y: mg.gelu(x) + mg.gelu(y, "tanh") + mg.silu(x) + mg.softplus(y) + mg.leaky_relu(x),
    "edges": lambda x, y: (mg.pad(x, (1, 2), mode="edge"), mg.pad(y, [(0, 0), (0, 3), (1, 2)], mode="wrap")),
    "clip": lambda x, y: x.clip(-0.5) + y.clip(high=0.1) + x.clip(-1, 1),
    "cast": lambda x, y: ((x * 3).astype(np.int32), (x > 0).astype(np.float64)),
    "reductions": lambda x, y: (x.sum(), x.mean(1), x.var((0, 2), keepdims=True), x.max(axis=2), y.min()),
    "integer sums": lambda x, y: ((x > 0).sum(1), (x * 3).astype(np.int32).sum(), x.sum(()) + y),
    "argmax": lambda x, y: (x.argmax(), y.argmax(1), x.argmin(2)),
    "waves": lambda x, y: mg.sin(x) + mg.cos(y) + mg.softplus(x),
    "cumulated": lambda x, y: (x.cumsum(1), y.cumsum(), x.prod((0, 2)), x.std(1), y.logsumexp(0)),
    "rearranged": lambda x, y: (x.tile(2, 1), x.repeat(2, axis=1).flatten(1), *y.split(2, 2), x[:1].squeeze(0)),
    "einsum": lambda x, y: mg.einsum("bik,bjk,bk->ji", x, y, y[:, 0]),
    "shapes": lambda x, y: x.reshape(6, 4).T.reshape(1, 4, 6).broadcast_to((2, 4, 6)),
    "joined": lambda x, y: mg.pad(mg.concatenate([x, y], 1), [(1, 0), (0, 2), (0, 0)], 7.0),
    "stacked": lambda x, y: mg.stack([x, y], 1),
    "slices": lambda x, y: x[1, None, 1::-1, 1:-1] + y[:, :2, 2:0:-1],
    "ellipses": lambda x, y: x[..., 1] + y[:, ..., -1:][..., 0],
    "picked": lambda x, y: x[:, :, INDICES.tolist()] + y[0, 0, :3],
    "products": lambda x, y: (x @ y.transpose(0, 2, 1), x.reshape(6, 4) @ mg.ones((4, 5))),
    "losses": lambda x, y: mg.softmax_cross_entropy(x[0], [1, 0, 3]) + mg.mse_loss(x, y),
    "weighted losses": lambda x, y: mg.softmax_cross_entropy(
        x[0], [1, 0, 3], weight=mg.ones(4), ignore_index=0, label_smoothing=0.1)
    + mg.binary_cross_entropy_with_logits(x, mg.sigmoid(y), pos_weight=2.0),
    "norms": lambda x, y: mg.layer_norm(x) + mg.group_norm(y, 3) + mg.instance_norm(x),
    "moments": lambda x, y: (mg.moments(x).mean, mg.moments(y, 2).m2),
    "half batch norm": lambda x, y: mg.frozen_batch_norm(x.astype("float16"), None, None, y[0, :, 0], y[1, :, 0] ** 2),
    "returned": lambda x, y: (x, x, y + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, path, rng):
    x, y = (mg.tensor(rng.standard_normal((2, 3, 4)).astype(np.float32)) for _ in range(2))
    agrees(FUNCTIONS[name], x, y, path=path, tolerance=1e-3 if "half" in name else 1e-5)


def test_images(path, rng):
    x = mg.tensor(rng.standard_normal((2, 4, 9, 8)).astype(np.float32))
    w = mg.tensor(rng.standard_normal((4, 2, 3, 2)).astype(np.float32))

    def convolutions(x, w):
        y = mg.conv2d(x, w, None, (2, 1), "same", (1, 2), 2)
        z = mg.conv_transpose2d(x, w, None, 2, (1, 0), 1, groups=2)
        return y, z, mg.max_pool2d(x, 3, 2, 1), mg.avg_pool2d(x, (3, 2), 1, 1)

    agrees(convolutions, x, w, path=path)
    uneven = nn.MaxPool2d(3, 2, 1, 2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, True, False)
    agrees(lambda x: tuple(pool(x) for pool in uneven), x, path=path)


def test_derivatives_that_are_returned(path, rng):
    """Backward passes are ops; those that ONNX has, by their references too, are written."""
    model = nn.Sequential(
        nn.Linear(4, 5, bias=False), nn.BatchNorm(5), nn.Sigmoid(), nn.Linear(5, 3)
    )
    for layer in model.modules():
        layer.moving = False
    x = mg.tensor(rng.standard_normal((6, 4)).astype(np.float32))

    def gradients(x):
        loss = mg.softmax_cross_entropy(model(x), [0, 1, 2, 0, 1, 2])
        return tuple(mg.grad(loss, model.parameters()))

    agrees(gradients, x, path=path)


def test_dropout_draws_masks(path):
    """ONNX Runtime's optimizations leave dropout out, so the other evaluator is asked."""
    x = mg.ones((100, 100))
    exported(nn.Dropout(0.25), x, path=path)
    (found,) = evaluated(path, x)
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 3], rtol=1e-6)
    assert 0.2 < counts[0] / found.size < 0.3


def backward_only():
    model = nn.Linear(3, 2)

    def step(x):
        model.zero_grad()
        model(x).sum().backward()

    return step


class Picking(nn.Module):
    def forward(self, x):
        return x[[0, 1], 0]


def weight_gradient(x):
    w = mg.tensor([[[[1.0]]]])
    return mg.grad(mg.conv2d(x.reshape(1, 1, 2, 3), w + x.sum() * 0).sum(), x)


def test_what_onnx_does_not_have_is_refused(path):
    x = mg.ones((2, 3), requires_grad=True)
    path.write_bytes(b"as it was")
    with refuses(ValueError, "leaves gradients in its leaves"):
        mg.capture(backward_only(), mg.ones((2, 3))).to_onnx(path)
    with refuses(ValueError, "WeightGrad can't be written: there is no ONNX operator for it"):
        mg.capture(weight_gradient, x).to_onnx(path)
    model = nn.Sequential(nn.Linear(3, 3), Picking())
    with refuses(
        ValueError, "Index in 1 can't be written: an index of arrays is written if there is one"
    ):
        mg.capture(model, mg.ones((2, 3))).to_onnx(path)
    pool = nn.Sequential(nn.MaxPool2d(2))
    with refuses(ValueError, "MaxPool2dGrad in 0 can't be written: it uses an output that"):
        mg.capture(lambda x: mg.grad(pool(x.reshape(1, 1, 2, 3)).sum(), x), x).to_onnx(path)
    assert path.read_bytes() == b"as it was"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


class Summing(nn.Module):
    """Changes in place: a buffer, and tensors of its own."""

    def __init__(self):
        self.total = nn.Buffer(np.zeros(3, np.float32))

    def forward(self, x):
        own = mg.ones(3)
        y = x * own
        self.total += x.sum(0)
        own *= self.total
        flat = (y * 2).reshape(6)
        flat += 1
        return own, flat


def seen_by_a_view(x):
    y = x * 2
    row = y[0]
    y += 1
    return row


def test_changes_in_place(path):
    model, x = Summing(), mg.tensor([[1.0, 2, 3], [4, 5, 6]])
    mg.capture(model, x).to_onnx(path)
    results = [*model(x), model.total]
    for found, expected in zip(outputs_of(path, x).values(), results, strict=True):
        np.testing.assert_array_equal(found, expected.numpy())
    with refuses(
        ValueError, "Assign can't be written: it changes memory in place that a view shares"
    ):
        mg.capture(seen_by_a_view, x).to_onnx(path)


def test_without_onnx_it_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with refuses(ImportError, 'pip install "minigrad-bn[onnx]"'):
        mg.capture(nn.Linear(3, 2), mg.ones((2, 3))).to_onnx(path)
    with refuses(ImportError, 'pip install "minigrad-bn[onnx]"'):
        mg.from_onnx(b"")


def test_other_backends_write_the_same_file(backend, path):
    layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    exported(layer, mg.ones((2, 3)), path=path)
    written = path.read_bytes()
    exported(layer.to("numpy"), mg.tensor(np.ones((2, 3), np.float32), backend="numpy"), path=path)
    assert path.read_bytes() == written
