"""Dtypes: which numbers a Tensor may hold. bfloat16, float32 without its lower half, is ml_dtypes', not NumPy's own."""

from __future__ import annotations

from typing import Any

import numpy as np


def real(dtype: Any) -> np.dtype:
    """NumPy's own object, which ops compare, for a dtype of real numbers, in this machine's byte order.

    Raises
    ------
    TypeError
        For any other dtype.
    ImportError
        For bfloat16 where ml_dtypes is not installed.
    """
    if isinstance(dtype, str) and dtype == "bfloat16":
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError(
                'bfloat16 needs ml_dtypes: install it with pip install "minigrad-bn[bfloat16]"'
            ) from error
        return np.dtype(ml_dtypes.bfloat16)
    try:
        if dtype is None:  # float64 to NumPy
            raise TypeError
        found = np.dtype(dtype)
        found = found if found.isnative else np.dtype(found.newbyteorder("=").str)
    except TypeError:
        raise TypeError(
            f"dtype: expected one of NumPy's or its name, such as 'float32', got {dtype!r}"
        ) from None
    if found.kind not in "biuf" and not floating(found):
        raise TypeError(f"tensor: expected numbers, got {found}")
    return found


def half(dtype: np.dtype) -> bool:
    """Whether numbers of a dtype are float16 or bfloat16: what is summed in float32, and rounded once."""
    return dtype.itemsize == 2 and floating(dtype)


def floating(dtype: np.dtype) -> bool:
    """Whether numbers of a dtype are floating ones. NumPy takes bfloat16 for raw bytes."""
    return dtype.kind == "f" or dtype.name == "bfloat16"
