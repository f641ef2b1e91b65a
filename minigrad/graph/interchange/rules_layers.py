"""Products, convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...kernels.convolution import Window
from ...ops.conv import Conv2d, InputGrad
from ...ops.linear import Linear
from ...ops.matmul import MatMul
from ...ops.pool import MaxPool2d, SumPool2d

if TYPE_CHECKING:
    from .writer import Step, Writer


def linear(to: Writer, step: Step) -> str:
    return to.node("Gemm", *step.inputs, transB=1)


def matmul(to: Writer, step: Step) -> str:
    a, b = step.inputs
    return to.node("MatMul", _turned(to, a, step.op.ta), _turned(to, b, step.op.tb))


def _turned(to: Writer, x: Any, turn: bool) -> Any:
    n = len(x.shape)
    return to.node("Transpose", x, perm=[*range(n - 2), n - 1, n - 2]) if turn else x


def conv2d(to: Writer, step: Step) -> str:
    return to.node(
        "Conv", *step.inputs, **window_attributes(step.op.window), **_rest(step.op.window)
    )


def conv_transpose2d(to: Writer, step: Step) -> str:
    """The size that it shall have is said as what is missing to the smallest."""
    window, (gy, _) = step.op.window, step.inputs
    axes = zip(
        gy.shape[2:], window.size, window.stride, window.padding, window.dilation, strict=True
    )
    smallest = [(n - 1) * s - sum(p) + (k - 1) * d + 1 for n, k, s, p, d in axes]
    missing = [have - least for have, least in zip(step.op.size, smallest, strict=True)]
    attributes = window_attributes(window) | _rest(window) | {"output_padding": missing}
    return to.node("ConvTranspose", *step.inputs, **attributes)


def max_pool2d(to: Writer, step: Step) -> tuple[str, None]:
    """The places of the largest are counted otherwise in ONNX, and needed by a backward pass only."""
    return to.node("MaxPool", *step.inputs, **window_attributes(step.op.window)), None


def sum_pool2d(to: Writer, step: Step) -> str:
    (x,), window = step.inputs, step.op.window
    mean = to.node("AveragePool", x, count_include_pad=1, **window_attributes(window))
    return to.node("Mul", mean, to.constant(math.prod(window.size), x.dtype))


def window_attributes(window: Window) -> dict[str, Any]:
    (top, bottom), (left, right) = window.padding
    return {
        "kernel_shape": window.size,
        "strides": window.stride,
        "pads": (top, left, bottom, right),
    }


def _rest(window: Window) -> dict[str, Any]:
    """What convolutions have and pools do not."""
    return {"dilations": window.dilation, "group": window.groups}


LAYERS: dict[type, Callable[..., Any]] = {
    Linear: linear,
    MatMul: matmul,
    Conv2d: conv2d,
    InputGrad: conv_transpose2d,
    MaxPool2d: max_pool2d,
    SumPool2d: sum_pool2d,
}
