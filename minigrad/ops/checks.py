"""Checks of arguments that several ops share; ``name`` is the function the user called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import floating
from ..messages import not_a_tensor
from ..tensor import Tensor


def require_tensor(name: str, **arguments: Any) -> None:
    """Raise TypeError for an argument that is neither a Tensor nor None."""
    for argument, value in arguments.items():
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{name}, argument {argument}: {not_a_tensor(value)}")


def require_floating(name: str, x: Tensor) -> None:
    """Raise TypeError unless ``x`` is a Tensor of floating dtype."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}, argument x: {not_a_tensor(x)}")
    if not floating(x._data.dtype):
        raise TypeError(
            f"{name}: expected a floating dtype, got {x.dtype}; cast x with x.astype('float32')"
        )


def require_dtype(
    name: str, x: Tensor, rule: Callable[[np.dtype], np.dtype] = np.dtype, **tensors: Tensor | None
) -> None:
    """Raise TypeError for a tensor whose dtype is not the one that ``rule`` gives for that of ``x``."""
    dtype = rule(x.dtype)
    for argument, tensor in tensors.items():
        if tensor is not None and tensor.dtype != dtype:
            own, others = tensor.dtype, [t for t in tensors.values() if t is not None]
            if floating(own) and rule(own) == own and all(t.dtype == own for t in others):
                raise TypeError(
                    f"{name}: x is {x.dtype} and {argument} {own}: cast x with x.astype('{own}')"
                )
            raise TypeError(
                f"{name}: expected {argument} of dtype {dtype} for x of {x.dtype}, got {own}; cast it "
                f"with .astype('{dtype}')"
            )
