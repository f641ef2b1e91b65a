"""Tensors in the memory of other libraries' arrays, by DLPack."""

from __future__ import annotations

from typing import Any

from . import backend as backends
from .dtypes import real
from .tensor import Tensor

#: the backend for each DLPack device type: kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged
_DLPACK = {1: "numpy", 2: "cupy", 3: "numpy", 13: "cupy"}


def from_dlpack(x: Any) -> Tensor:
    """A Tensor in the memory of another library's array, without a copy; the other way, give a Tensor to theirs.

    The memory is shared, but the tape does not see what the other library writes: let it write nothing between a
    forward and its backward. Read-only memory, such as JAX's, is read like any other, while assigning to ``.data`` and
    optimizers refuse it. CuPy has no read-only memory: on a GPU, don't change JAX's arrays in place.

    Parameters
    ----------
    x : object with ``__dlpack__``
        A tensor of PyTorch, an array of JAX, NumPy or CuPy, ...: on the CPU for the NumPy backend, on a GPU for CuPy's.

    Returns
    -------
    Tensor
        Of x's shape and dtype, requiring no gradient.

    Raises
    ------
    TypeError
        If x has no ``__dlpack__``, is on another device, or has a dtype that the backend lacks (bfloat16,
        complex numbers).
    BufferError
        If its library refuses to export it: PyTorch's, if it requires a gradient.
    ImportError, RuntimeError
        If it is on a GPU and CuPy is missing.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> theirs = np.zeros(3)
    >>> ours = mg.from_dlpack(theirs)
    >>> theirs[0] = 1
    >>> ours
    Tensor([1., 0., 0.], dtype=float64)
    """
    if not hasattr(x, "__dlpack_device__"):
        raise TypeError(
            "from_dlpack: expected an object with __dlpack__, such as a tensor of PyTorch or an array of "
            f"JAX, got {type(x).__name__}; minigrad.tensor copies other data"
        )
    device = int(x.__dlpack_device__()[0])
    if device not in _DLPACK:
        raise TypeError(
            f"from_dlpack: expected memory of the CPU or a CUDA device, got DLPack's device type {device}; move it to "
            "the CPU first"
        )
    backend = backends.get(_DLPACK[device])
    try:
        array = backend.xp.from_dlpack(x)
    except (RuntimeError, TypeError) as error:  # for a dtype that NumPy or CuPy lacks
        raise TypeError(
            f"from_dlpack: {backend.name} can't hold {getattr(x, 'dtype', 'this dtype')} ({error}); convert it first, "
            "to float32 say"
        ) from error
    real(array.dtype)
    return Tensor(array)
