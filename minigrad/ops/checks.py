"""Checks of arguments that several ops share; ``name`` is the function the user called."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import floating
from ..tensor import Tensor


def require_tensor(name: str, **arguments: Any) -> None:
    """Raise TypeError for an argument that is neither a Tensor nor None."""
    for argument, value in arguments.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a Tensor, got {type(value).__name__}; "
                "wrap it with minigrad.tensor"
            )


def require_floating(name: str, x: Tensor) -> None:
    """Raise TypeError unless ``x`` is a Tensor of floating dtype."""
    if not isinstance(x, Tensor):
        require_tensor(name, x=x)
        raise TypeError(f"{name}: expected x to be a Tensor, got None")
    if not floating(x._data.dtype):
        raise TypeError(f"{name}: expected a floating dtype, got {x.dtype}; cast with .astype")


def require_dtype(name: str, dtype: np.dtype, **tensors: Tensor | None) -> None:
    """Raise TypeError for a tensor of another dtype."""
    for argument, tensor in tensors.items():
        if tensor is not None and tensor.dtype != dtype:
            raise TypeError(
                f"{name}: expected {argument} of dtype {dtype}, got {tensor.dtype}; cast with .astype"
            )
