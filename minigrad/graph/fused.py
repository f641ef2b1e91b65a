"""Ops that a pass puts in the place of several. They are no functions of their own: nobody else applies them.

Their references apply the ops that they stand for, so derivatives and ONNX files are those of the graph before.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ..op import Op
from ..ops import activation as activations
from ..ops.batch_norm import BatchNorm, BatchNormGrad, FrozenBatchNorm, PerChannel
from ..tensor import Tensor, apply

#: activations and their gradients, by the names of their kernels
ELEMENTWISE: dict[str, Op] = {
    "relu": activations.RELU,
    "relu_grad": activations.RELU_GRAD,
    "sigmoid": activations.SIGMOID,
    "sigmoid_grad": activations.SIGMOID_GRAD,
}


class ActivatedBatchNorm(PerChannel):
    """The activation of y, and mean, var and 1 / sqrt(var + eps)."""

    num_outputs = 4
    saves_outputs = (0, 1, 3)
    __slots__ = ("eps", "ddof", "activation")

    def __init__(self, kept: tuple[int, ...], eps: float, ddof: int, activation: str) -> None:
        super().__init__(kept)
        self.eps, self.ddof, self.activation = eps, ddof, activation

    def norm(self) -> BatchNorm:
        return BatchNorm(self.kept, self.eps, self.ddof)

    def reference(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> Any:
        y, *statistics = apply(self.norm(), x, gamma, beta)
        return apply(ELEMENTWISE[self.activation], y), *statistics

    def forward(self, k: Any, x: Any, gamma: Any, beta: Any) -> Any:
        settings = self.kept, self.eps, self.ddof, self.activation
        return k.activated_batch_norm(x, gamma, beta, *settings)

    def backward(self, node: Any, needs: Any, gy: Tensor | None, *gstatistics: Any) -> Any:
        y, *saved = node.outputs
        if gy is not None:
            gy = apply(ELEMENTWISE[f"{self.activation}_grad"], y, gy)
        inner = SimpleNamespace(inputs=node.inputs, outputs=saved)
        return self.norm().backward(inner, needs, gy, *gstatistics)


class ActivatedBatchNormGrad(PerChannel):
    """Gradients for x, gamma and beta from that of the activation's output y."""

    num_outputs = 3
    __slots__ = ("ddof", "activation")

    def __init__(self, kept: tuple[int, ...], ddof: int, activation: str) -> None:
        super().__init__(kept)
        self.ddof, self.activation = ddof, activation

    def reference(
        self,
        x: Tensor,
        gamma: Tensor | None,
        mean: Tensor,
        inv_std: Tensor,
        y: Tensor,
        gy: Tensor,
    ) -> Any:
        g = apply(ELEMENTWISE[f"{self.activation}_grad"], y, gy)
        return apply(BatchNormGrad(self.kept, self.ddof), x, gamma, mean, inv_std, g)

    def forward(self, k: Any, x: Any, gamma: Any, mean: Any, inv_std: Any, y: Any, gy: Any) -> Any:
        settings = self.kept, self.ddof, self.activation
        return k.activated_batch_norm_grad(x, gamma, mean, inv_std, y, gy, *settings)


class ActivatedFrozenBatchNorm(PerChannel):
    __slots__ = ("eps", "activation")

    def __init__(self, kept: tuple[int, ...], eps: float, activation: str) -> None:
        super().__init__(kept)
        self.eps, self.activation = eps, activation

    def reference(
        self, x: Tensor, gamma: Tensor | None, beta: Tensor | None, mean: Tensor, var: Tensor
    ) -> Any:
        y = apply(FrozenBatchNorm(self.kept, self.eps), x, gamma, beta, mean, var)
        return apply(ELEMENTWISE[self.activation], y)

    def forward(self, k: Any, x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
        settings = self.kept, self.eps, self.activation
        return k.activated_frozen_batch_norm(x, gamma, beta, mean, var, *settings)
