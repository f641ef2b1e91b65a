"""The ONNX operators that are read: functions of a node's inputs and attributes.

They are those that ``to_onnx`` writes, and those of small MLPs, convolutional networks and classifiers. Inputs are
Tensors, except for those that ``VECTORS`` and ``SCALARS`` name. A parameter may be an input in one version of an
operator and an attribute in another. An attribute that a function does not take must have its default value. A function
that makes something larger than its inputs claims the memory first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np

from ..ops import activation, arithmetic, elementwise, rectifiers, reduction
from ..ops.batch_norm import frozen_batch_norm, statistics_dtype
from ..ops.conv import conv2d, conv_transpose2d
from ..ops.linear import linear, matmul
from ..ops.pool import avg_pool2d, max_pool2d
from ..ops.random import dropout
from ..ops.shape import concatenate, pad
from ..tensor import Tensor, apply
from . import DTYPES

Operator = Callable[..., Any]
Ints = tuple[int, ...]
#: ONNX's names of inputs that are read on the host, as tuples of integers and as single numbers
VECTORS = {"axes", "ends", "pads", "shape", "starts", "steps"}
SCALARS = {"constant_value", "max", "min", "ratio", "training_mode"}
#: attributes whose values change nothing here
IGNORED = {"momentum", "round_mode", "saturate", "seed", "storage_order"}


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
    if a.dtype.kind != "f":
        raise ValueError("the quotient of integers is not read")
    return a / b


def reduced(function: Operator) -> Operator:
    """A reduction that keeps the dtype."""

    def operator(
        x: Tensor, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        if not axes and noop_with_empty_axes:
            return x
        return function(x, axis=axes or None, keepdims=bool(keepdims)).astype(x.dtype)

    return operator


def arg_max(x: Tensor, axis: int = 0, keepdims: int = 1) -> Tensor:
    claim(x.shape, np.dtype(np.int64))
    found = reduction.argmax(x, axis)
    return unsqueeze(found, (axis,)) if keepdims else found


def cast(x: Tensor, to: int) -> Tensor:
    claim(x.shape, DTYPES[to])
    return x.astype(DTYPES[to])


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
    for t in (a, b) if b.ndim > 2 else ():
        claim((*lead, *t.shape[-2:]), t.dtype)
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
    if c is not None:
        np.broadcast_to(blank(c), (n, m))
    if transB and alpha == beta == 1 and a.dtype.kind == "f" and getattr(c, "shape", (m,)) == (m,):
        return linear(a, b, c)
    y = matmul(a, b.T if transB else b) * alpha
    return (y if c is None or not beta else y + c * beta).astype(a.dtype)


def batch_normalization(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, epsilon: float = 1e-5
) -> Tensor:
    gamma, beta, mean, var = (t.astype(statistics_dtype(x.dtype)) for t in (gamma, beta, mean, var))
    return frozen_batch_norm(x, gamma, beta, mean, var, eps=epsilon)


def windows(
    x: Tensor,
    kernel: Ints,
    strides: Ints,
    pads: Ints,
    dilations: Ints,
    auto_pad: str,
    channels: int,
    depth: int,
) -> Any:
    """Check windows over the last two axes and claim their memory; returns the padding as pairs.

    Claims the padded x, the patches of a row, and the output with its ``channels``, ``depth`` products for each place
    of a window.
    """
    sizes = x.shape[2:]
    if [*map(len, (sizes, kernel, strides, dilations, pads))] != [2, 2, 2, 2, 4]:
        raise ValueError(f"expected windows over two axes, got {kernel} for {x.shape}")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise ValueError(f"expected positive sizes, got {kernel, strides, dilations, pads}")
    axes = zip(sizes, kernel, strides, dilations, strict=True)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER") and not any(pads):
        lacks = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in axes]
        befores = [(lack + (auto_pad == "SAME_LOWER")) // 2 for lack in lacks]
        pads = *befores, *(n - b for n, b in zip(lacks, befores, strict=True))
    elif auto_pad != "NOTSET" and (auto_pad != "VALID" or any(pads)):
        raise ValueError(f"expected auto_pad or pads, got {auto_pad} and {pads}")
    ends = tuple(zip(pads[:2], pads[2:], strict=True))
    wide = [n + sum(p) for n, p in zip(sizes, ends, strict=True)]
    axes = zip(wide, kernel, strides, dilations, strict=True)
    out = [max((n - (k - 1) * d - 1) // s + 1, 0) for n, k, s, d in axes]
    claim((*x.shape[:2], *wide), x.dtype)
    claim((out[1] * x.shape[1] + 256, *kernel), x.dtype)
    claim(shape := (len(x), channels, *out), x.dtype, prod((*shape, depth, *kernel)))
    return ends


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    *,
    group: int = 1,
    kernel_shape: Any = None,
    strides: Any = (1, 1),
    pads: Any = (0, 0, 0, 0),
    dilations: Any = (1, 1),
    auto_pad: str = "NOTSET",
    output_padding: Any = None,
) -> Tensor:
    """Transposed if rows and columns to add, ``output_padding``, are given."""
    kernel = weight.shape[2:]
    if kernel_shape not in (None, kernel):
        raise ValueError(f"kernel_shape is not that of weight {weight.shape}")
    if output_padding is None:
        ends = windows(x, kernel, strides, pads, dilations, auto_pad, *weight.shape[:2])
        return conv2d(x, weight, bias, strides, ends, dilations, group)
    if auto_pad not in ("NOTSET", "VALID"):
        raise ValueError(f"auto_pad={auto_pad} is not read")
    ends = windows(x, kernel, strides, pads, dilations, auto_pad, 1, 1)
    # It is computed over the output before that is cropped, by a kernel that is filled up with zeros.
    filled = [k * d + s for k, d, s in zip(kernel, dilations, strides, strict=True)]
    axes = zip(x.shape[2:], strides, filled, output_padding, strict=True)
    whole = [n * s + k + e for n, s, k, e in axes]
    shape = len(x), weight.shape[1] * group, *whole
    claim((*weight.shape[:2], *filled), x.dtype)
    claim((whole[1] * x.shape[1] + 256, *filled), x.dtype)
    claim(shape, x.dtype, prod((*shape, len(weight), *filled)))
    return conv_transpose2d(x, weight, bias, strides, ends, output_padding, group, dilations)


def pooling(pool: Operator, counts_padding: bool) -> Operator:
    """Windows without dilations, with the same padding on both sides, and that counted in means."""

    def operator(
        x: Tensor,
        kernel_shape: Any,
        strides: Any = (1, 1),
        pads: Any = (0, 0, 0, 0),
        dilations: Any = (1, 1),
        auto_pad: str = "NOTSET",
        count_include_pad: int = 0,
    ) -> Tensor:
        ends = windows(x, kernel_shape, strides, pads, dilations, auto_pad, x.shape[1], 32)
        (top, bottom), (left, right) = ends
        uncounted = counts_padding and (top or left) and not count_include_pad
        if dilations != (1, 1) or (top, left) != (bottom, right) or uncounted:
            raise ValueError(
                f"expected no dilations and symmetric pads, counted in means, got {dilations}, {ends}"
            )
        wide = x.astype(np.promote_types(x.dtype, np.float32))
        return pool(wide, kernel_shape, strides, (top, left)).astype(x.dtype)

    return operator


# fmt: off
OPERATORS: dict[str, Operator] = {
    "Abs": elementwise.abs_, "Exp": elementwise.exp, "Log": elementwise.log, "Sqrt": elementwise.sqrt,
    "Tanh": elementwise.tanh, "Relu": activation.relu, "Sigmoid": activation.sigmoid,
    "Erf": lambda x: apply(rectifiers.ERF, x), "Softplus": rectifiers.softplus,
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
    "Cast": cast, "LeakyRelu": lambda x, alpha=0.01: arithmetic.where(x < 0, x * alpha, x),
    "Clip": lambda x, min=None, max=None: x if min is max is None else elementwise.clip(x, min, max),
    "Softmax": lambda x, axis=-1: activation.softmax(x, axis),
    "LogSoftmax": lambda x, axis=-1: activation.log_softmax(x, axis),
    "ReduceMax": reduced(reduction.max), "ReduceMin": reduced(reduction.min), "ArgMax": arg_max,
    "ReduceSum": reduced(reduction.sum), "ReduceMean": reduced(reduction.mean),
    "Dropout": lambda x, ratio=0.5, training_mode=False: dropout(x, ratio) if training_mode else x,
    "Constant": literal, "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "Reshape": reshape, "Flatten": flatten, "Unsqueeze": unsqueeze, "Expand": expand,
    "Squeeze": lambda x, axes=None: x.reshape(np.squeeze(blank(x), axes).shape),
    "Transpose": lambda x, perm=None: x.transpose(perm) if perm else x.transpose(),
    "Concat": lambda *xs, axis: concatenate(xs, axis), "Slice": cut, "Gather": gather, "Pad": padded,
    "MatMul": product, "Gemm": gemm, "BatchNormalization": batch_normalization,
    "Conv": conv, "ConvTranspose": partial(conv, output_padding=(0, 0)),
    "MaxPool": pooling(max_pool2d, False), "AveragePool": pooling(avg_pool2d, True),
    "GlobalAveragePool": lambda x: reduction.mean(x, tuple(range(2, x.ndim)), True),
}
# fmt: on
