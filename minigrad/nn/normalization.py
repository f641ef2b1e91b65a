"""The siblings of batch norm as layers: no statistics to remember, the same function in training and eval."""

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


class LayerNorm(Module):
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
    ) -> None:
        shape = integers("LayerNorm", (normalized_shape,))
        for size in shape or (0,):
            init.require_positive("LayerNorm", normalized_shape=size)
        require_numbers("LayerNorm", eps=eps)
        self.normalized_shape, self.eps = shape, eps
        self.gamma, self.beta = _parameters(shape, affine, dtype)

    def forward(self, x: Tensor) -> Tensor:
        ndim = len(self.normalized_shape)
        if isinstance(x, Tensor) and x.shape[-ndim:] != self.normalized_shape:
            raise ValueError(
                f"{self.title()}: expected x of shape (..., {', '.join(map(str, self.normalized_shape))}), "
                f"got {x.shape}"
            )
        return layer_norm(x, self.gamma, self.beta, ndim, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}{_affine_repr(self.gamma)}"


class GroupNorm(Module):
    """``minigrad.group_norm`` with gamma and beta.

    Parameters
    ----------
    num_groups, num_channels : int
    eps, affine, dtype
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
    ) -> None:
        init.require_positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: expected groups that divide {num_channels} channels, got {num_groups}"
            )
        require_numbers("GroupNorm", eps=eps)
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.gamma, self.beta = _parameters((num_channels,), affine, dtype)

    def forward(self, x: Tensor) -> Tensor:
        require_channels(self, x, self.num_channels)
        return group_norm(x, self.num_groups, self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}{_affine_repr(self.gamma)}"


class InstanceNorm(Module):
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
        require_numbers("InstanceNorm", eps=eps)
        self.num_channels, self.eps = num_channels, eps
        self.gamma, self.beta = _parameters((num_channels,), affine, dtype)

    def forward(self, x: Tensor) -> Tensor:
        require_channels(self, x, self.num_channels)
        return instance_norm(x, self.gamma, self.beta, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}{_affine_repr(self.gamma)}"


def require_channels(layer: Module, x: Tensor, channels: int) -> None:
    """Raise ValueError, naming the layer, unless axis 1 of x has so many channels."""
    if isinstance(x, Tensor) and (x.ndim < 2 or x.shape[1] != channels):
        raise ValueError(
            f"{layer.title()}: expected x of shape (n, {channels}, ...), got {x.shape}"
        )


def _parameters(shape: tuple[int, ...], affine: bool, dtype: Any) -> tuple[Any, Any]:
    if not affine:
        return None, None
    return Parameter(np.ones(shape), dtype), Parameter(np.zeros(shape), dtype)


def _affine_repr(gamma: Parameter | None) -> str:
    return "" if gamma is not None else ", affine=False"
