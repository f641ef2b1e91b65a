"""Activations: sigmoid, relu, softmax, log_softmax (``elementwise`` has tanh, ``rectifiers`` the kin of relu).

sigmoid(x) = 1 / (1 + exp(-x)) squeezes the line into (0, 1); its slope y (1 - y) is at most 1/4, which is why deep
sigmoid networks need normalized inputs.
"""

from __future__ import annotations

from typing import Any

from ..messages import explained
from ..op import Op
from ..tensor import Tensor, apply
from .checks import require_floating
from .reduction import normalize_axes


class Sigmoid(Op):
    elementwise = True
    saves_inputs = False
    saves_outputs = (0,)

    def reference(self, x: Tensor) -> Tensor:
        return 1 / (1 + (-x).exp())

    def forward(self, k: Any, x: Any) -> Any:
        return k.sigmoid(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return apply(SIGMOID_GRAD, y, gy)


class SigmoidGrad(Op):
    elementwise = True

    def reference(self, y: Tensor, gy: Tensor) -> Tensor:
        return gy * y * (1 - y)

    def forward(self, k: Any, y: Any, gy: Any) -> Any:
        return k.sigmoid_grad(y, gy)


class Relu(Op):
    elementwise = True

    def reference(self, x: Tensor) -> Tensor:
        return x * (x > 0).astype(x.dtype)

    def forward(self, k: Any, x: Any) -> Any:
        return k.relu(x)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return apply(RELU_GRAD, x, gy)


class ReluGrad(Op):
    elementwise = True

    def reference(self, x: Tensor, gy: Tensor) -> Tensor:
        return gy * (1 - (x <= 0).astype(gy.dtype))

    def forward(self, k: Any, x: Any, gy: Any) -> Any:
        return k.relu_grad(x, gy)


class Softmax(Op):
    saves_inputs = False
    saves_outputs = (0,)
    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def reference(self, x: Tensor) -> Tensor:
        e = (x - x.max(axis=self.axis, keepdims=True).detach()).exp()
        return e / e.sum(self.axis, keepdims=True)

    def forward(self, k: Any, x: Any) -> Any:
        return k.softmax(x, self.axis) if x.size else x.copy()

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return y * (gy - (gy * y).sum(self.axis, keepdims=True))


class LogSoftmax(Softmax):
    def reference(self, x: Tensor) -> Tensor:
        shifted = x - x.max(axis=self.axis, keepdims=True).detach()
        return shifted - shifted.exp().sum(self.axis, keepdims=True).log()

    def forward(self, k: Any, x: Any) -> Any:
        return k.log_softmax(x, self.axis) if x.size else x.copy()

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (y,) = node.outputs
        return gy - y.exp() * gy.sum(self.axis, keepdims=True)


SIGMOID, SIGMOID_GRAD = Sigmoid(), SigmoidGrad()
RELU, RELU_GRAD = Relu(), ReluGrad()


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), element by element; exactly 0 and 1 far out, without overflow.

    Raises
    ------
    TypeError
        If ``x`` is not a Tensor of floating dtype.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.sigmoid(mg.tensor([-1e4, 0, 1e4]))
    Tensor([0. , 0.5, 1. ])
    """
    require_floating("sigmoid", x)
    return apply(SIGMOID, x)


def relu(x: Tensor) -> Tensor:
    """max(x, 0); the gradient at 0 is 0.

    Raises
    ------
    TypeError
        If ``x`` is not a Tensor of floating dtype.
    """
    require_floating("relu", x)
    return apply(RELU, x)


@explained
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along ``axis``, computed from the largest element down so that nothing overflows.

    Raises
    ------
    TypeError
        If ``x`` is not a Tensor of floating dtype.
    ValueError
        If the axis is out of range.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.softmax(mg.tensor([1e4, 1e4]))
    Tensor([0.5, 0.5])
    """
    require_floating("softmax", x)
    (axis,) = normalize_axes((axis,), x.ndim, "softmax")
    return apply(Softmax(axis), x.widened()).astype(x.dtype)


@explained
def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """log(softmax(x)) along ``axis``, without taking the logarithm of a rounded 0; errors as ``softmax``."""
    require_floating("log_softmax", x)
    (axis,) = normalize_axes((axis,), x.ndim, "log_softmax")
    return apply(LogSoftmax(axis), x.widened()).astype(x.dtype)
