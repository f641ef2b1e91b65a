"""Which array modules exist, moving arrays between them, and the default one.

An array's type decides which kernels run on it; the default backend decides only where new tensors are born.
CuPy is imported when its backend is first asked for.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .dtypes import real
from .kernels import pinned, pool
from .kernels.generic import Kernels
from .kernels.numba import NumbaKernels
from .kernels.numpy import NumpyKernels


@dataclass(frozen=True)
class Devices:
    """The devices of a backend that may have several, by number. As in CuPy, arrays are made, and kernels run, on the
    current one, which a context chooses."""

    of: Callable[[Any], int]
    current: Callable[[], int]
    #: makes the context, and how one writes it
    at: Callable[[int], AbstractContextManager[Any]]
    written: str

    def check(self, title: str, arrays: Sequence[Any]) -> None:
        """Raise unless ``arrays`` (or None) are all on the current device; ``title`` is who asks."""
        found, here = {self.of(array) for array in arrays if array is not None}, self.current()
        if found == {here}:
            return
        devices = " and ".join(map(str, sorted(found)))
        raise ValueError(
            f"{title}: inputs are on device {devices}, and device {here} is the current one, where numbers and "
            f"results go; compute inside of `with {self.written}({min(found - {here})}):`, where .to(backend) brings "
            "what is elsewhere"
        )


def _of_numbers(array: Any) -> Any:
    """``array``; TypeError unless it holds real numbers."""
    real(array.dtype)
    return array


@dataclass(frozen=True)
class Backend:
    """An array module, its array type, its kernels, the way to and from NumPy, and how to look without touching."""

    name: str
    xp: Any
    array: type
    kernels: Kernels
    from_numpy: Callable[[np.ndarray], Any]
    to_numpy: Callable[[Any], np.ndarray]
    #: a view that refuses to be written to, where the array module knows such a thing; else the array itself
    read_only: Callable[[Any], Any] = lambda array: array
    #: whether an array is no view of another's memory
    owned: Callable[[Any], bool] = lambda array: array.base is None
    #: an array as kernels take it: itself, where they can
    usable: Callable[[Any], Any] = _of_numbers
    #: whether an array's memory may be written to
    writable: Callable[[Any], bool] = lambda array: True
    #: None where there is but one
    devices: Devices | None = None
    #: batches of NumPy arrays as batches of its own, each on its way while the one before is used; None where a copy
    #: is not worth being started early
    ahead: Callable[[Iterable[Any]], Iterator[Any]] | None = None
    #: an array of no axes of a Python number and a dtype; a device makes it without a transfer
    scalar: Callable[[Any, Any], Any] = np.asarray

    def here(self) -> str:
        """Where new arrays are made, as ``where`` says it."""
        return self.name if self.devices is None else f"{self.name}:{self.devices.current()}"


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _usable(array: np.ndarray) -> np.ndarray:
    """An array of numbers in this machine's byte order, each at a multiple of its size: a copy where it isn't."""
    dtype = real(array.dtype)
    return array if dtype == array.dtype and array.flags.aligned else array.astype(dtype)


def _numpy() -> Backend:
    kernels = NumbaKernels if _compiled() else NumpyKernels
    plain = Backend("numpy", np, np.ndarray, kernels(np), np.asarray, np.array, _read_only)
    return replace(
        plain, owned=pool.owned, usable=_usable, writable=lambda array: array.flags.writeable
    )


def _compiled() -> bool:
    """Whether Numba's kernels are used: where it is installed, unless MINIGRAD_KERNELS says "numpy"."""
    wanted = os.environ.get("MINIGRAD_KERNELS", "")
    if wanted not in ("", "numba", "numpy"):
        raise ValueError(f"MINIGRAD_KERNELS: expected numba or numpy, got {wanted!r}")
    installed = importlib.util.find_spec("numba") is not None
    if wanted == "numba" and not installed:
        raise ImportError("MINIGRAD_KERNELS=numba needs Numba, which is not installed")
    return installed and wanted != "numpy"


def _cupy() -> Backend:
    try:
        import cupy  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(
            f'the cupy backend needs CuPy ({error}): install it with pip install "minigrad-bn[gpu]"'
        ) from error
    if not cupy.is_available():
        raise RuntimeError("the cupy backend needs an NVIDIA GPU, and CuPy finds none")
    from .kernels import cudnn, tf32
    from .kernels.cupy import CupyKernels, CupyLauncher

    tf32.govern(cupy)
    kernels = CupyKernels(cupy, CupyLauncher(cupy), cudnn.load())
    devices = Devices(
        lambda array: array.device.id, cupy.cuda.get_device_id, cupy.cuda.Device, "cupy.cuda.Device"
    )
    plain = Backend("cupy", cupy, cupy.ndarray, kernels, cupy.asarray, cupy.asnumpy)
    return device(replace(plain, devices=devices, ahead=pinned.ahead))


def device(plain: Backend) -> Backend:
    """The backend of a device that computes while Python goes on, and tells of errors in values when they are read."""

    def read(array: Any) -> np.ndarray:
        values = plain.to_numpy(array)  # waits for the device
        plain.kernels.check()
        return values

    def scalar(value: Any, dtype: Any) -> Any:
        return plain.xp.full((), value, dtype)

    return replace(plain, to_numpy=read, scalar=scalar)


#: how to load each backend, by the name of its array module
_loaders: dict[str, Callable[[], Backend]] = {"numpy": _numpy, "cupy": _cupy}
_loaded: dict[str, Backend] = {}
#: the backend of each array type: what ``apply`` looks up
by_type: dict[type, Backend] = {}
_default: Backend | None = None


def register(name: str, loader: Callable[[], Backend]) -> None:
    """Make a further array module known under ``name``; ``loader`` is called when it is first asked for."""
    _loaders[name] = loader


def get(name: str) -> Backend:
    """The backend called ``name``, loaded if need be.

    Raises
    ------
    ValueError
        If no backend has that name.
    ImportError, RuntimeError
        If its package, or its device, is missing.
    """
    if name not in _loaded:
        if name not in _loaders:
            hint = "; cpu is numpy here, and cuda is cupy; .astype(dtype) casts"
            said = repr(name) if isinstance(name, str) else type(name).__name__
            raise ValueError(f"unknown backend {said}: expected one of {', '.join(_loaders)}{hint}")
        backend = _loaded[name] = _loaders[name]()
        by_type[backend.array] = backend
    return _loaded[name]


def available() -> list[str]:
    """Names of the backends that work here, NumPy first."""
    names = []
    for name in _loaders:
        try:
            get(name)
        except (ImportError, RuntimeError):
            continue
        names.append(name)
    return names


def of(array: Any) -> Backend | None:
    """The backend that ``array`` belongs to, or None if it is no array of a known backend."""
    kind = type(array)
    if kind not in by_type:
        package = kind.__module__.partition(".")[0]
        if package not in _loaders or isinstance(array, np.generic) or not hasattr(array, "dtype"):
            return None
        if get(package).array is not kind:
            return None
    return by_type[kind]


def where(array: Any) -> str:
    """Where an array is: its backend's name, and the number of its device where there are several: "cupy:0"."""
    backend = by_type[type(array)]
    return (
        backend.name if backend.devices is None else f"{backend.name}:{backend.devices.of(array)}"
    )


def writable(array: Any) -> bool:
    """Whether an array may be written to: its memory is not read-only, and no two elements share it."""
    axes = [(abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1]
    extent = array.dtype.itemsize
    for stride, n in sorted(axes) if array.size else ():
        if stride < extent:
            return False
        extent += stride * (n - 1)
    return by_type[type(array)].writable(array)


def beside(array: Any) -> AbstractContextManager[Any]:
    """A context: inside, new arrays of its backend are made on the device of ``array``."""
    devices = by_type[type(array)].devices
    return nullcontext() if devices is None else devices.at(devices.of(array))


def as_array(data: Any, dtype: Any, name: str | None) -> Any:
    """A new array of ``data`` on the backend called ``name``, on its current device; for None on its own backend if it
    is a device's array, else on the default one. Arrays keep their dtype, all else becomes float32, unless ``dtype``
    says otherwise."""
    source = of(data)
    if source is None:
        if isinstance(data, np.ma.MaskedArray):
            raise TypeError(
                "tensor: a masked array's mask would be lost: pass array.filled(value), and the mask by itself"
            )
        if not hasattr(data, "dtype"):
            dtype = np.float32 if dtype is None else dtype
        try:
            array, source = np.asarray(data), get("numpy")
        except ValueError as error:  # lists of different lengths
            raise ValueError(
                f"tensor: expected numbers in lists of equal lengths: {error}"
            ) from None
        if array.dtype.kind == "O" and not hasattr(data, "dtype"):
            raise TypeError(f"tensor: expected numbers, got {data!r}")
        data = array
    if name is not None:
        target = get(name)
    else:
        target = default() if source.name == "numpy" else source
    own = real(data.dtype)
    dtype = own if dtype is None else real(dtype)
    if source is not target:
        return target.from_numpy(np.asarray(source.to_numpy(data), dtype))
    return target.xp.array(data, dtype=dtype, copy=True)


def default() -> Backend:
    """Where new tensors are born: NumPy, unless ``set_backend`` or ``MINIGRAD_BACKEND`` says otherwise."""
    global _default
    if _default is None:
        _default = get(os.environ.get("MINIGRAD_BACKEND", "numpy"))
    return _default


def set_backend(name: str) -> None:
    """Choose where new tensors are born.

    Parameters
    ----------
    name : {"numpy", "cupy"}
        The environment variable ``MINIGRAD_BACKEND`` chooses it at start-up.

    Raises
    ------
    ValueError
        If no backend has that name.
    ImportError, RuntimeError
        If CuPy, or a GPU for it, is missing; the default then stays as it was.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.set_backend("numpy")
    >>> mg.zeros(3).backend
    'numpy'
    """
    global _default
    _default = get(name)


get("numpy")
