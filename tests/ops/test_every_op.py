"""What all ops have in common, over the table of cases: forward, gradients, dtypes, layouts, and hands off inputs."""

from __future__ import annotations

from types import FunctionType

import numpy as np
import pytest
from cases import CASES, Sample, channels, integers, normal
from helpers import close, device, subclasses

import minigrad as mg
from minigrad import backend as backends
from minigrad.bn import moments
from minigrad.op import Op
from minigrad.ops import activation, batch_norm, conv, linear
from minigrad.ops.conv import make_window
from minigrad.ops.cross_entropy import SoftmaxCrossEntropy, SoftmaxCrossEntropyGrad
from minigrad.tape import tracing

pytestmark = pytest.mark.usefixtures("backend")

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def tensors(arrays):
    """Leaves; the floating ones require a gradient."""
    return [mg.tensor(a, requires_grad=mg.dtypes.floating(a.dtype)) for a in arrays]


def floating(ts):
    return [t for t in ts if mg.dtypes.floating(t.dtype)]


def cotangents_of(ys):
    """Cotangents that are no two alike."""
    waves = [np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype) for y in ys]
    return tensors(waves)


def gradients(case, xs):
    """The outputs, their gradients for the inputs, and the gradients of those for inputs and cotangents."""
    ys = case(*xs)
    us = cotangents_of(ys)
    gs = mg.grad(ys, floating(xs), us, create_graph=True)
    ones = [mg.ones(g.shape, dtype=g.dtype) for g in gs]
    return ys, gs, mg.grad(gs, [*floating(xs), *us], ones, allow_unused=True)


def test_every_function_has_a_case():
    others = {
        *{"arange", "argmax", "argmin", "constant", "full", "ones", "tensor", "zeros"},
        *{"eye", "linspace", "one_hot", "ones_like", "rand", "randn", "zeros_like"},
        *{"get_num_threads", "grad", "gradcheck", "load", "manual_seed", "save"},
        *{"allow_tf32", "set_backend", "set_num_threads", "tf32_allowed"},
        *{"detect_anomaly", "summary"},
        *{"capture", "from_dlpack", "from_onnx", "graph_diff", "graphs", "jit"},
    }
    functions = {name for name in mg.__all__ if isinstance(getattr(mg, name), FunctionType)}
    assert functions - others == functions & {name.partition(" ")[0] for name in CASES}


def test_every_differentiable_op_is_in_a_case(rng):
    used, seen = set(), set()
    for dtype in [np.float16, np.float64]:
        for case in CASES.values():
            ys, gs, _ = gradients(case, tensors(case.arrays(rng, dtype)))
            stack = [t._ref[0] for t in [*ys, *gs] if t.requires_grad]
            while stack:
                node = stack.pop()
                if node not in seen and node.op is not None:
                    seen.add(node)
                    used.add(type(node.op))
                    stack.extend(ref[0] for ref in node.parents if ref)
    ops = {op for op in subclasses(Op) if op.__module__.startswith(("minigrad.ops", "minigrad.bn"))}
    concrete = {op for op in ops if op.differentiable and op.forward is not Op.forward}
    assert {op.__name__ for op in concrete - used} == set()


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items() if case.oracle]
)
def test_forward_is_numpys(rng, case):
    arrays = case.arrays(rng)
    for y, expected in zip(case(*tensors(arrays)), case.expected(*arrays), strict=True):
        close(y, expected)


@every_case
def test_gradients_to_second_order(rng, case):
    assert mg.gradcheck(case, tensors(case.arrays(rng)), rng=rng)


@every_case
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_are_kept(rng, case, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    xs = tensors(case.arrays(rng, dtype))
    ys, gs, seconds = gradients(case, xs)
    assert ys[0].dtype == dtype
    assert all(y.dtype == np.promote_types(dtype, np.float32) for y in ys[1:])
    for x, g in zip(floating(xs), gs, strict=True):
        assert (g.shape, g.dtype) == (x.shape, x.dtype)
    for x, gg in zip([*floating(xs), *ys], seconds, strict=True):
        assert gg is None or (gg.shape, gg.dtype) == (x.shape, x.dtype)


@every_case
def test_nothing_given_is_changed(rng, case):
    xs = tensors(case.arrays(rng))
    ys = case(*xs)
    us = cotangents_of(ys)
    before = [t.numpy().tobytes() for t in [*xs, *ys, *us]]
    gs = mg.grad(ys, floating(xs), us, create_graph=True)
    mg.grad(gs, [*floating(xs), *us], [g.detach() for g in gs], allow_unused=True)
    for y, u in zip(ys, us, strict=True):
        mg.grad(y, floating(xs), u, allow_unused=True)
    assert [t.numpy().tobytes() for t in [*xs, *ys, *us]] == before


LAYOUTS = {
    "fortran": lambda array: device(np.asfortranarray(array)),
    "spread out, backwards": lambda array: device(np.repeat(array[::-1], 2, axis=0))[::-2],
}


@every_case
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layout_changes_nothing(rng, case, layout):
    arrays = case.arrays(rng)
    xs = tensors(arrays)
    others = [mg.Tensor(layout(a) if a.ndim else device(a)) for a in arrays]
    for other in floating(others):
        other.requires_grad = True
    (ys, gs, _), (others_ys, others_gs, _) = gradients(case, xs), gradients(case, others)
    for a, b in zip([*ys, *gs], [*others_ys, *others_gs], strict=True):
        close(a, b)


X, C = normal(4, 3, 2), channels(3)
KEPT = (1,), 1e-3
CONV2D = conv.Conv2d(make_window("conv2d", (4, 5), (2, 3), (2, 1), (1, 0), (1, 2), 2), (4, 5))
FUSED = [
    (linear.LINEAR, normal(4, 3), normal(2, 3), normal(2)),
    (linear.LINEAR, normal(4, 3), normal(2, 3), None),
    (activation.SIGMOID, X),
    (activation.SIGMOID_GRAD, X, X),
    (activation.RELU, X),
    (activation.RELU_GRAD, X, X),
    *[(activation.Softmax(axis), X) for axis in range(3)],
    *[(activation.LogSoftmax(axis), X) for axis in range(3)],
    *[(SoftmaxCrossEntropy(w), normal(4, 3), integers(3, 4)) for w in [None, 1.0, 0.25]],
    (SoftmaxCrossEntropyGrad(None), normal(4, 3), integers(3, 4), normal(4)),
    (SoftmaxCrossEntropyGrad(0.25), normal(4, 3), integers(3, 4), normal()),
    (batch_norm.BatchNorm(*KEPT), X, C, C),
    (batch_norm.BatchNorm(*KEPT), X, None, None),
    (batch_norm.BatchNormGrad(KEPT[0]), X, C, C, C, X),
    (batch_norm.BatchNormGrad(KEPT[0]), X, None, C, C, X),
    (batch_norm.FrozenBatchNorm(*KEPT), X, C, C, C, C),
    (batch_norm.FrozenBatchNorm(*KEPT), X, None, None, C, C),
    (batch_norm.BatchNorm(*KEPT, ddof=1), X, C, C),
    (batch_norm.BatchNormGrad(KEPT[0], ddof=1), X, C, C, C, X),
    (moments.MeanM2(KEPT[0]), X),
    (
        moments.MeanM2(KEPT[0]),
        X,
        Sample((4, 1, 2), lambda rng, s: rng.integers(3, size=s) / 2, np.float32),
    ),
    (CONV2D, normal(2, 2, 4, 5), normal(2, 1, 2, 3), normal(2)),
    (CONV2D, normal(2, 2, 4, 5), normal(2, 1, 2, 3), None),
]


@pytest.mark.parametrize(
    ("op", "samples"), [pytest.param(op, s, id=type(op).__name__) for op, *s in FUSED]
)
def test_fused_is_its_reference(rng, op, samples):
    for dtype, tolerance in [(np.float64, 1e-12), (np.float32, 1e-5), (np.float16, 2e-2)]:
        inputs = [None if s is None else mg.tensor(s.array(rng, dtype)) for s in samples]
        fused, plain = mg.Tensor.apply(op, *inputs), op.reference(*inputs)
        pairs = [(fused, plain)] if isinstance(fused, mg.Tensor) else zip(fused, plain, strict=True)
        for a, b in pairs:
            assert a.dtype == b.dtype
            close(a, b, tolerance)


def test_every_reference_is_compared():
    with_reference = {op for op in subclasses(Op) if op.reference is not Op.reference}
    ours = {
        op for op in with_reference if op.__module__.startswith(("minigrad.ops", "minigrad.bn"))
    }
    assert ours == {type(op) for op, *_ in FUSED}


class Watch:
    """Who hears all applications, and looks whether results share memory that the op says nothing of."""

    node = None

    def __init__(self):
        self.sharing = set()

    def __getattr__(self, name):
        return lambda *args: None

    def applied(self, op, inputs, outputs):
        xp = backends.default().xp
        for y in outputs if not op.aliases else ():
            if any(t is not None and xp.may_share_memory(y._data, t._data) for t in inputs):
                self.sharing.add(type(op).__name__)


def test_results_share_memory_only_where_the_op_says_so():
    heard = Watch()
    token = tracing.set(heard)
    try:
        for case in CASES.values():
            for dtype in [np.float32, np.float64]:
                gradients(case, tensors(case.arrays(np.random.default_rng(0), dtype)))
    finally:
        tracing.reset(token)
    assert heard.sharing == set()
