"""float16 and bfloat16: kernels that add compute with them in float32, and round once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..dtypes import half


def wide(value: Any) -> Any:
    """An array of float16 or bfloat16 as float32; anything else as it is."""
    dtype = getattr(value, "dtype", None)
    return value if dtype is None or not half(dtype) else value.astype("float32")


def in_float32(kernel: Callable[..., Any]) -> Any:
    """A kernel that adds: where its first array is float16 or bfloat16, the whole kernel set's own one for float32."""
    name = kernel.__name__

    @wraps(kernel)
    def widened(self: Any, x: Any, *args: Any) -> Any:
        if not half(x.dtype):
            return kernel(self, x, *args)
        return getattr(self, name)(wide(x), *map(wide, args)).astype(x.dtype)

    return widened
