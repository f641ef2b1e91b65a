"""Creating tensors: from a shape (zeros, full, eye, rand, ...), of numbers in a row, as a constant, or by DLPack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import backend as backends
from .dtypes import floating, real
from .messages import explained, not_a_tensor, require_numbers
from .ops.random import generator
from .ops.shape import require_size
from .ops.shape import sizes as checked
from .tensor import Tensor, literal, tensor


@explained
def full(
    shape: int | Sequence[int],
    value: float,
    *,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of ``shape``, an int or a tuple of them, filled with ``value``; float32 by default.

    Raises
    ------
    TypeError
        For a shape that is not made of integers.
    ValueError
        For negative sizes.
    """
    if not isinstance(value, (np.ndarray, np.generic)):
        require_numbers("full", value=value)
    return _filled("full", (shape,), value, requires_grad, dtype, backend)


@explained
def zeros(
    *sizes: int | Sequence[int],
    shape: int | Sequence[int] | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of zeros, of a shape given as ints or one tuple; float32 by default. It raises as ``full`` does.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.zeros(2, 3).shape, mg.zeros((2, 3)).shape, mg.zeros(()).shape
    ((2, 3), (2, 3), ())
    """
    return _filled(
        "zeros", sizes if shape is None else (*sizes, shape), 0, requires_grad, dtype, backend
    )


@explained
def ones(
    *sizes: int | Sequence[int],
    shape: int | Sequence[int] | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """A tensor of ones, of a shape given as ints or one tuple; float32 by default. It raises as ``full`` does."""
    return _filled(
        "ones", sizes if shape is None else (*sizes, shape), 1, requires_grad, dtype, backend
    )


def _filled(
    name: str,
    shape: Sequence[Any],
    value: float,
    requires_grad: bool,
    dtype: Any,
    backend: str | None,
) -> Tensor:
    array = np.full(checked(name, shape), value, real(dtype))
    return literal(tensor(array, requires_grad=requires_grad, backend=backend))


def zeros_like(x: Tensor, *, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """Zeros in the shape of x and on its backend; of its dtype by default."""
    return _like("zeros_like", x, 0, requires_grad, dtype)


def ones_like(x: Tensor, *, requires_grad: bool = False, dtype: Any = None) -> Tensor:
    """Ones in the shape of x and on its backend; of its dtype by default."""
    return _like("ones_like", x, 1, requires_grad, dtype)


def _like(name: str, x: Any, value: float, requires_grad: bool, dtype: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: {not_a_tensor(x)}")
    dtype = x.dtype if dtype is None else dtype
    with backends.beside(x._data):
        return _filled(name, x.shape, value, requires_grad, dtype, x.backend)


@explained
def eye(
    n: int, m: int | None = None, *, dtype: Any = np.float32, backend: str | None = None
) -> Tensor:
    """A matrix of n rows and m columns (n by default) with ones on its diagonal; float32 by default."""
    shape = checked("eye", (n, n if m is None else m))
    return literal(tensor(np.eye(*shape, dtype=real(dtype)), backend=backend))


@explained
def rand(
    *sizes: int | Sequence[int],
    rng: np.random.Generator | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """Random numbers, uniform in [0, 1), of a shape given as ints or one tuple; float32 by default.

    They come from ``rng``, by default the generator that ``manual_seed`` seeds. ``minigrad.capture`` refuses functions
    that draw them, since a graph would repeat the same ones.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.manual_seed(0)
    >>> mg.rand(2, 3).shape
    (2, 3)
    """
    return _drawn("random", "rand", sizes, rng, requires_grad, dtype, backend)


@explained
def randn(
    *sizes: int | Sequence[int],
    rng: np.random.Generator | None = None,
    requires_grad: bool = False,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """Random numbers from the standard normal distribution; otherwise as ``rand``."""
    return _drawn("standard_normal", "randn", sizes, rng, requires_grad, dtype, backend)


def _drawn(
    kind: str, name: str, shape: Any, rng: Any, requires_grad: bool, dtype: Any, backend: Any
) -> Tensor:
    dtype = real(dtype)
    if not floating(dtype):
        raise TypeError(f"{name}: expected a floating dtype, got {dtype}")
    draw = getattr(generator(rng), kind)
    values = draw(checked(name, shape), np.float64 if dtype == np.float64 else np.float32)
    values = np.asarray(values).astype(dtype)
    if kind == "random":
        values[values == 1] = 0  # rounded up to float16 or bfloat16
    return tensor(values, requires_grad=requires_grad, backend=backend)


@explained
def linspace(
    start: float, stop: float, num: int = 50, *, dtype: Any = np.float32, backend: str | None = None
) -> Tensor:
    """``num`` values at equal distances from ``start`` to ``stop``, both included; float32 by default."""
    require_numbers("linspace", start=start, stop=stop)
    (count,) = checked("linspace, num", (num,))
    return literal(tensor(np.linspace(start, stop, count).astype(real(dtype)), backend=backend))


@explained
def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = np.float32,
    backend: str | None = None,
) -> Tensor:
    """Values from ``start`` (0 if ``stop`` is left out) up to, not including, ``stop``; float32 by default.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.arange(3), mg.arange(2, 4, dtype="int64")
    (Tensor([0., 1., 2.]), Tensor([2, 3], dtype=int64))
    """
    if stop is None:
        start, stop = 0.0, start
    require_numbers("arange", start=start, stop=stop, step=step)
    count = (stop - start) / step if step else math.nan
    if not math.isfinite(count):
        raise ValueError(
            f"arange: expected finite numbers and step != 0, got {start}, {stop}, {step}"
        )
    require_size("arange", (math.ceil(count),))
    values = np.arange(float(start), stop, step).astype(dtype)
    return literal(tensor(values, backend=backend))


def constant(data: Any, *, dtype: Any = None, backend: str | None = None) -> Tensor:
    """A tensor that is a constant under capture, like a number in the program: its values are the same in every call.

    ``minigrad.capture`` refuses arrays from outside, since they may differ in the next call. This declares that one
    does not: a table of positions, a filter.

    Parameters
    ----------
    data, dtype, backend
        As for ``minigrad.tensor``.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> window = np.hanning(5)
    >>> graph = mg.capture(lambda x: x * mg.constant(window, dtype="float32"), mg.ones(5))
    >>> graph(mg.ones(5) * 2)
    Tensor([0., 1., 2., 1., 0.])
    """
    return literal(tensor(data, dtype=dtype, backend=backend))


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
