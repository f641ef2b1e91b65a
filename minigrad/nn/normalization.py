"""Layer, group and instance norm: no running statistics, the same function in training and eval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..messages import renamed, require_numbers
from ..ops.normalization import group_norm, instance_norm, layer_norm
from ..ops.shape import integers
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


class Normalization(Module):
    """Base of the layers below: an eps, and optionally gamma and beta."""

    gamma: Parameter | None = None
    beta: Parameter | None = None

    def _set_up(
        self, shape: tuple[int, ...], eps: float, affine: bool, dtype: Any, bias: bool = True
    ) -> None:
        require_numbers(type(self).__name__, eps=eps)
        self.eps = eps
        self.gamma = Parameter(np.ones(shape), dtype) if affine else None
        self.beta = Parameter(np.zeros(shape), dtype) if affine and bias else None

    def _require_channels(self, x: Tensor, channels: int) -> None:
        if isinstance(x, Tensor) and (x.ndim < 2 or x.shape[1] != channels):
            raise ValueError(
                f"{self.title()}: expected x of shape (n, {channels}, ...), got {x.shape}"
            )

    def _repr(self, sizes: Any) -> str:
        lacking = ", affine=False" if self.gamma is None else ", bias=False"
        return f"{sizes}, eps={self.eps}{lacking if self.beta is None else ''}"


class LayerNorm(Normalization):
    """``minigrad.layer_norm`` with gamma and beta.

    Parameters
    ----------
    normalized_shape : int or tuple of ints
        Sizes of the last axes, which are the features of an example.
    eps : float
    affine : bool
        Whether there are gamma and beta.
    dtype : NumPy dtype
        float32 by default, which also serves float16 inputs.
    bias : bool
        False leaves only gamma.

    Attributes
    ----------
    gamma, beta : Parameter, shape of the features, or None
    """

    @renamed("epsilon", "eps")
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = np.float32,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = shape = integers("LayerNorm", (normalized_shape,))
        for size in shape or (0,):
            init.require_positive("LayerNorm", normalized_shape=size)
        self._set_up(shape, eps, affine, dtype, bias)

    def forward(self, x: Tensor) -> Tensor:
        shape = self.normalized_shape
        if isinstance(x, Tensor) and x.shape[-len(shape) :] != shape:
            raise ValueError(
                f"{self.title()}: expected x of shape (..., {', '.join(map(str, shape))}), got {x.shape}"
            )
        return layer_norm(x, self.gamma, self.beta, len(shape), self.eps)

    def extra_repr(self) -> str:
        return self._repr(self.normalized_shape)


class GroupNorm(Normalization):
    """``minigrad.group_norm`` with gamma and beta.

    Parameters
    ----------
    num_groups, num_channels : int
    eps, affine, dtype, bias
        As for LayerNorm.

    Attributes
    ----------
    gamma, beta : Parameter, shape (num_channels,), or None
    """

    @renamed("epsilon", "eps")
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = np.float32,
        bias: bool = True,
    ) -> None:
        init.require_positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: expected groups that divide {num_channels} channels, got {num_groups}"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self._set_up((num_channels,), eps, affine, dtype, bias)

    def forward(self, x: Tensor) -> Tensor:
        self._require_channels(x, self.num_channels)
        return group_norm(x, self.num_groups, self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return self._repr(f"{self.num_groups}, {self.num_channels}")


class InstanceNorm(Normalization):
    """``minigrad.instance_norm``, by default without gamma and beta, as in PyTorch.

    Parameters
    ----------
    num_channels : int
    eps, affine, dtype
        As for LayerNorm.

    Attributes
    ----------
    gamma, beta : Parameter, shape (num_channels,), or None
    """

    @renamed("epsilon", "eps")
    def __init__(
        self, num_channels: int, eps: float = 1e-5, affine: bool = False, dtype: Any = np.float32
    ) -> None:
        init.require_positive("InstanceNorm", num_channels=num_channels)
        self.num_channels = num_channels
        self._set_up((num_channels,), eps, affine, dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._require_channels(x, self.num_channels)
        return instance_norm(x, self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return self._repr(self.num_channels)
