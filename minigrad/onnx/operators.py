"""The operators of ONNX that are read: functions of a node's inputs and attributes.

Inputs are Tensors, except for those that ``VECTORS`` and ``SCALARS`` name. A parameter may be an input in one version
of an operator and an attribute in another. An attribute that a function does not take must have its default value. A
function that makes something larger than its inputs claims the memory first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import reduce
from math import erfc, exp, inf, pi, prod, sqrt
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebinterpolate, chebval

from ..creation import constant
from ..ops import activation, arithmetic, elementwise, reduction
from ..ops.batch_norm import frozen_batch_norm, statistics_dtype
from ..ops.conv import conv2d, conv_transpose2d
from ..ops.linear import linear, matmul
from ..ops.normalization import group_norm, instance_norm, layer_norm
from ..ops.pool import avg_pool2d, max_pool2d
from ..ops.random import dropout
from ..ops.shape import concatenate, pad
from ..tensor import Tensor
from . import DTYPES

Operator = Callable[..., Any]
Ints = tuple[int, ...]
#: ONNX's names of inputs that are read on the host, as tuples of integers and as single numbers
VECTORS = {"axes", "ends", "pads", "shape", "starts", "steps"}
SCALARS = {"constant_value", "max", "min", "ratio", "training_mode"}
#: attributes whose values change nothing here
IGNORED = {"momentum", "round_mode", "saturate", "seed", "storage_order"}
#: how many times the memory of its inputs an operator takes, where that is not once; 0 if it claims all that it needs
COPIES = {"ArgMax": 8, "Cast": 8, "Dropout": 3, "Elu": 8, "Gelu": 16, "GroupNormalization": 3}
COPIES |= {"InstanceNormalization": 3, "LayerNormalization": 4, "LeakyRelu": 3, "Softplus": 6}
COPIES |= dict.fromkeys(("Add", "Div", "Mul", "Pow", "Sub", "Where", "Conv", "ConvTranspose"), 0)
COPIES |= dict.fromkeys(("AveragePool", "Expand", "Gather", "Gemm", "MatMul", "MaxPool", "Pad"), 0)


class Budget:
    """Bytes that a run may take: ``most`` in one node, and in all nodes beyond 64 times its ``data``.

    Layers of ordinary networks stay below 64 times inputs and weights. 128 multiplications count as one byte.
    """

    def __init__(self, most: int, data: int) -> None:
        self.most, self.free, self.spent, self.node = most, 64 * data, 0, 0

    def next_node(self) -> None:
        self.spent += max(self.node - self.free, 0)
        self.node = 0


budget: ContextVar[Budget] = ContextVar("budget")


def claim(shape: Iterable[int], dtype: np.dtype, work: int = 0) -> None:
    """Count an array, made by ``work`` multiplications (those of integers are slow); ValueError if too large."""
    if min(shape := (1, *shape)) < 0:
        raise ValueError(f"a size is negative in shape {shape[1:]}")
    b = budget.get()
    b.node += max(prod(shape) * dtype.itemsize, work // (128 if dtype.kind == "f" else 4))
    if max(b.node, b.spent + b.node - b.free) > b.most:
        raise ValueError(
            f"it needs {b.spent + b.node} bytes, or the time of as many, more than max_bytes={b.most} allows; if you "
            "trust the file, read it with a larger max_bytes"
        )


def axes_of(axes: Iterable[int], rank: int) -> list[int]:
    """``axes`` counted from the front, in range and distinct."""
    found = {a % rank: a for a in axes if -rank <= a < rank}
    if len(found) < len([*axes]):
        raise ValueError(f"axes {[*axes]} are out of range for {rank} dimensions, or equal")
    return [*found]


def blank(x: Tensor) -> np.ndarray:
    """An array of the shape of x that takes no memory."""
    return np.broadcast_to(np.int8(0), x.shape)


def literal(**given: Any) -> np.ndarray:
    """A Constant: one number, vector or array."""
    ((name, value),) = given.items()
    kinds = {"value": None, "value_int": np.int64, "value_float": np.float32}
    return np.asarray(value, kinds[name.removesuffix("s")])


def broadcasting(function: Operator) -> Operator:
    def operator(*xs: Tensor) -> Tensor:
        claim(np.broadcast_shapes(*(x.shape for x in xs)), xs[-1].dtype)
        return function(*xs)

    return operator


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b; integers are divided towards 0, on the host."""
    if a.dtype.kind == "f":
        return a / b
    n, d = a.numpy(), b.numpy()
    if not d.all():
        raise ValueError("an integer is divided by 0")
    return constant((n - np.fmod(n, d)) // d, backend=a.backend)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """alpha (exp(x) - 1) below 0, through the hyperbolic tangent, which is accurate for small x."""
    t = elementwise.tanh(arithmetic.minimum(x, 0) / 2)
    return arithmetic.where(x < 0, 2 * alpha * t / (1 - t), x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function (Hendrycks & Gimpel 2016, arXiv:1606.08415), by a Chebyshev series."""
    wide = x.widened()
    if approximate == "tanh":
        share = 0.5 + 0.5 * elementwise.tanh(sqrt(2 / pi) * (wide + 0.044715 * wide**3))
    else:
        # exp(z^2) erfc(z) for z in [0, 6] is smooth in u = 9 / (3 + z) - 2.
        scaled = np.vectorize(lambda u: erfc(9 / (u + 2) - 3) * exp((9 / (u + 2) - 3) ** 2))
        z = elementwise.abs_(wide) * sqrt(0.5)
        u: Any = 9 / (3 + arithmetic.minimum(z, 6)) - 2
        series: Any = chebinterpolate(scaled, 18 if x.dtype == np.float64 else 9)
        tail = 0.5 * chebval(u, series) * elementwise.exp(-z * z)
        share = arithmetic.where(wide < 0, tail, 1 - tail)
    return (wide * share).astype(x.dtype)


def over_axis(function: Operator) -> Operator:
    """A softmax; before opset 13 the axes from the given one on, by default 1, count as one."""

    def operator(x: Tensor, axis: int | None = None, opset: int = 13) -> Tensor:
        if opset >= 13 or not x.size:
            return function(x, -1 if axis is None else axis)
        (first,) = axes_of([1 if axis is None else axis], x.ndim)
        return function(x.reshape(prod(x.shape[:first]), -1), 1).reshape(x.shape)

    return operator


def over_axes(function: Operator) -> Operator:
    """A reduction that keeps the dtype."""

    def operator(
        x: Tensor, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        if not axes and noop_with_empty_axes:
            return x
        return function(x, axes or None, bool(keepdims)).astype(x.dtype)

    return operator


def arg_max(x: Tensor, axis: int = 0, keepdims: int = 1) -> Tensor:
    found = reduction.argmax(x, axis)
    return unsqueeze(found, (axis,)) if keepdims else found


def reshape(x: Tensor, shape: Ints, allowzero: int = 0) -> Tensor:
    """A 0 stands for the size of x along that axis unless ``allowzero``."""
    return x.reshape(shape if allowzero else [n or x.shape[i] for i, n in enumerate(shape)])


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    (axis,) = (axis,) if axis == x.ndim else axes_of([axis], x.ndim)
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


def unsqueeze(x: Tensor, axes: Ints) -> Tensor:
    return x.reshape(np.expand_dims(blank(x), axes).shape)


def cut(x: Tensor, starts: Ints, ends: Ints, axes: Any = None, steps: Any = None) -> Tensor:
    key = [slice(None)] * x.ndim
    chosen = axes_of(range(len(starts)) if axes is None else axes, x.ndim)
    for a, start, end, step in zip(chosen, starts, ends, steps or [1] * len(starts), strict=True):
        # Backwards, a start before the first element is the first: unlike in Python.
        key[a] = slice(max(start, -x.shape[a]) if step < 0 else start, end, step)
    return x[tuple(key)]


def gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    (axis,) = axes_of([axis], x.ndim)
    claim((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    key = (*[slice(None)] * axis, indices)
    return x[key]


def padded(x: Tensor, pads: Ints, value: Any = None, axes: Any = None) -> Tensor:
    widths = [(0, 0)] * x.ndim
    chosen = axes_of(range(x.ndim) if axes is None else axes, x.ndim)
    for a, before, after in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
        widths[a] = before, after
    claim([n + sum(ends) for n, ends in zip(x.shape, widths, strict=True)], x.dtype)
    return pad(x, widths, value or 0)


def expand(x: Tensor, shape: Ints) -> Tensor:
    claim(new := np.broadcast_shapes(x.shape, shape), x.dtype)
    return x.broadcast_to(new)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrices are copied, at most, to the leading axes of the result."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    for t in (a, b):
        claim((*lead, *t.shape[-2:]) if b.ndim > 2 else t.shape, t.dtype)
    shape = *lead, *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ())
    claim(shape, a.dtype, prod((*shape, *a.shape[-1:])))
    return matmul(a, b)


def gemm(
    a: Tensor, b: Tensor, c: Any = None, transA: int = 0, transB: int = 0, **factors: float
) -> Tensor:
    a = a.T if transA else a
    alpha, beta = factors.get("alpha", 1), factors.get("beta", 1)
    (n, k), m = a.shape, b.shape[0 if transB else 1]
    claim((3, n, m), a.dtype, n * m * k)
    require_broadcast((n, m), c)
    if transB and alpha == beta == 1 and a.dtype.kind == "f" and getattr(c, "shape", (m,)) == (m,):
        return linear(a, b, c)
    y = matmul(a, b.T if transB else b) * alpha
    return (y if c is None or not beta else y + c * beta).astype(a.dtype)


def require_broadcast(shape: Ints, *ts: Tensor | None) -> None:
    for t in ts:
        if t is not None:
            np.broadcast_to(blank(t), shape)


def normalization(function: Operator) -> Operator:
    """A norm whose parameters get the dtype of its statistics."""

    def operator(
        x: Tensor, *parameters: Tensor, num_groups: int | None = None, epsilon: float = 1e-5
    ) -> Tensor:
        groups = [] if num_groups is None else [num_groups]
        wide = [t.astype(statistics_dtype(x.dtype)) for t in parameters]
        return function(x, *groups, *wide, eps=epsilon)

    return operator


def layer_normalization(
    x: Tensor, scale: Tensor, bias: Any = None, axis: int = -1, epsilon: float = 1e-5
) -> Tensor:
    require_broadcast(x.shape, scale, bias)
    (axis,) = axes_of([axis], x.ndim)
    y = layer_norm(x, None, None, x.ndim - axis, epsilon) * scale
    return y if bias is None else y + bias


def two_axes(function: Operator) -> Operator:
    """Windows over one axis are those over two, one row high."""

    def operator(x: Tensor, *arrays: Any, **window: Any) -> Tensor:
        if x.ndim != 3:
            return function(x, *arrays, **window)
        for name, value in window.items():
            if name == "pads":
                window[name] = 0, value[0], 0, value[1]
            elif isinstance(value, tuple):
                window[name] = int(name != "output_padding"), *value
        arrays = tuple([unsqueeze(t, (2,)) if getattr(t, "ndim", 0) == 3 else t for t in arrays])
        y = function(unsqueeze(x, (2,)), *arrays, **window)
        return y.reshape(*y.shape[:2], y.shape[3])

    return operator


def windows(
    x: Tensor,
    kernel: Ints,
    strides: Ints = (1, 1),
    pads: Ints = (0, 0, 0, 0),
    dilations: Ints = (1, 1),
    auto_pad: str = "NOTSET",
) -> tuple[Any, ...]:
    """Strides, padding, dilations and the numbers of windows over the last two axes; claims the padded x."""
    sizes = x.shape[2:]
    if [*map(len, (sizes, kernel, strides, dilations, pads))] != [2, 2, 2, 2, 4]:
        raise ValueError(f"expected windows over one or two axes, got {kernel} for {x.shape}")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise ValueError(f"expected positive sizes, got {kernel, strides, dilations, pads}")
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    ends = [*zip(pads[:2], pads[2:], strict=True)]
    if auto_pad in ("SAME_UPPER", "SAME_LOWER") and not any(pads):
        for i, (n, s, k) in enumerate(zip(sizes, strides, spans, strict=True)):
            lack = max((-(-n // s) - 1) * s + k - n, 0)
            before = (lack + (auto_pad == "SAME_LOWER")) // 2
            ends[i] = before, lack - before
    elif auto_pad != "NOTSET" and (auto_pad != "VALID" or any(pads)):
        raise ValueError(f"expected auto_pad or pads, got {auto_pad} and {pads}")
    padded = [n + sum(p) for n, p in zip(sizes, ends, strict=True)]
    claim((*x.shape[:2], *padded), x.dtype)
    out = [max((n - k) // s + 1, 0) for n, k, s in zip(padded, spans, strides, strict=True)]
    return strides, tuple(ends), dilations, out


def claim_windows(x: Tensor, kernel: Any, channels: int, depth: int, out: list[int]) -> None:
    """Claim the patches of a row, the steps over the places of a window, and the output."""
    shape = len(x), channels, *out
    claim((out[1] * x.shape[1] + 256, *kernel), x.dtype)
    claim(shape, x.dtype, prod((*shape, depth, *kernel)))


def convolution(
    x: Tensor, weight: Tensor, bias: Any = None, group: int = 1, **window: Any
) -> Tensor:
    """Transposed if rows and columns to add, ``output_padding``, are given."""
    kernel, extra = weight.shape[2:], window.pop("output_padding", None)
    if window.pop("kernel_shape", kernel) != kernel:
        raise ValueError(f"kernel_shape is not that of weight {weight.shape}")
    strides, pads, dilations, out = windows(x, kernel, **window)
    if extra is None:
        claim_windows(x, kernel, len(weight), weight.shape[1], out)
        return conv2d(x, weight, bias, strides, pads, dilations, group)
    # It is computed over the output before that is cropped, by a kernel that is filled up with zeros.
    filled = [k * d + s for k, d, s in zip(kernel, dilations, strides, strict=True)]
    axes = zip(x.shape[2:], strides, filled, extra, strict=True)
    claim((*weight.shape[:2], *filled), x.dtype)
    whole = [n * s + k + e for n, s, k, e in axes]
    claim_windows(x, filled, weight.shape[1] * group, len(weight), whole)
    return conv_transpose2d(x, weight, bias, strides, pads, extra, dilations, group)


def conv_transpose(*arrays: Any, auto_pad: str = "VALID", **window: Any) -> Tensor:
    if auto_pad != "VALID":
        raise ValueError(f"auto_pad={auto_pad} is not read")
    return convolution(*arrays, **{"output_padding": (0, 0), **window})


def pooling(pool: Operator, value: float) -> Operator:
    """Padding that the pool does not take is written out as ``value``."""

    def operator(x: Tensor, kernel_shape: Any, count_include_pad: int = 0, **window: Any) -> Tensor:
        strides, pads, dilations, out = windows(x, kernel_shape, **window)
        axes = [*zip(pads, kernel_shape, strict=True)]
        if dilations != (1, 1) or any(max(ends) >= size for ends, size in axes):
            raise ValueError(f"expected no dilations, and pads below {kernel_shape}, got {pads}")
        claim_windows(x, kernel_shape, x.shape[1], 32, out)

        def pooled(x: Tensor) -> Tensor:
            if all(before == after and 2 * after <= size for (before, after), size in axes):
                return pool(x, kernel_shape, strides, (pads[0][0], pads[1][0]))
            return pool(pad(x, [(0, 0), (0, 0), *pads], value), kernel_shape, strides)

        y = pooled(x.astype(np.promote_types(x.dtype, np.float32)))
        if not (value or count_include_pad) and any(map(any, pads)):
            y = y / pooled(constant(np.ones((1, 1, *x.shape[2:]), y.dtype), backend=x.backend))
        return y.astype(x.dtype)

    return two_axes(operator)


# fmt: off
OPERATORS: dict[str, Operator] = {
    "Abs": elementwise.abs_, "Exp": elementwise.exp, "Log": elementwise.log, "Sqrt": elementwise.sqrt,
    "Tanh": elementwise.tanh, "Relu": activation.relu, "Sigmoid": activation.sigmoid,
    "Identity": lambda x: x, "Neg": lambda x: -x, "Not": lambda x: x != np.True_,
    "Add": broadcasting(lambda a, b: a + b), "Sub": broadcasting(lambda a, b: a - b),
    "Mul": broadcasting(lambda a, b: a * b), "Div": broadcasting(divide),
    "Pow": broadcasting(lambda a, b: (a**b).astype(a.dtype)), "Where": broadcasting(arithmetic.where),
    "Equal": broadcasting(lambda a, b: a == b), "Less": broadcasting(lambda a, b: a < b),
    "LessOrEqual": broadcasting(lambda a, b: a <= b), "Greater": broadcasting(lambda a, b: a > b),
    "GreaterOrEqual": broadcasting(lambda a, b: a >= b),
    "Max": lambda *xs: reduce(broadcasting(arithmetic.maximum), xs),
    "Min": lambda *xs: reduce(broadcasting(arithmetic.minimum), xs),
    "Sign": lambda x: arithmetic.where(x > 0, 1, arithmetic.where(x < 0, -1, x.detach())),
    "Cast": lambda x, to: x.astype(DTYPES[to]),
    "Clip": lambda x, min=None, max=None: x if min is max is None else elementwise.clip(x, min, max),
    "Elu": elu, "Gelu": gelu, "LeakyRelu": lambda x, alpha=0.01: arithmetic.where(x < 0, x * alpha, x),
    "Softplus": lambda x: arithmetic.maximum(x, 0) + (1 + (-elementwise.abs_(x)).exp()).log(),
    "Softmax": over_axis(activation.softmax), "LogSoftmax": over_axis(activation.log_softmax),
    "ReduceMax": over_axes(reduction.max), "ReduceMin": over_axes(reduction.min),
    "ReduceSum": over_axes(reduction.sum), "ReduceMean": over_axes(reduction.mean), "ArgMax": arg_max,
    "Dropout": lambda x, ratio=0.5, training_mode=False: dropout(x, ratio) if training_mode else x,
    "Constant": literal, "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "Reshape": reshape, "Flatten": flatten, "Unsqueeze": unsqueeze, "Expand": expand,
    "Squeeze": lambda x, axes=None: x.reshape(np.squeeze(blank(x), axes).shape),
    "Transpose": lambda x, perm=None: x.transpose(perm) if perm else x.transpose(),
    "Concat": lambda *xs, axis: concatenate(xs, axis), "Slice": cut, "Gather": gather, "Pad": padded,
    "MatMul": product, "Gemm": gemm, "BatchNormalization": normalization(frozen_batch_norm),
    "InstanceNormalization": normalization(instance_norm), "LayerNormalization": layer_normalization,
    "GroupNormalization": normalization(group_norm), "Conv": two_axes(convolution),
    "ConvTranspose": two_axes(conv_transpose),
    "MaxPool": pooling(max_pool2d, -inf), "AveragePool": pooling(avg_pool2d, 0),
    "GlobalAveragePool": lambda x: reduction.mean(x, tuple(range(2, x.ndim)), True),
}
# fmt: on
