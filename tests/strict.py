"""The strict device: an array type as unforgiving as a GPU's, for machines without one.

``StrictArray`` holds a NumPy array out of reach: it does not turn into one silently, and an operation that mixes it
with one is refused, as CuPy refuses it. ``StrictModule`` is its array module. Code that runs on it moves data only
through ``Backend.from_numpy`` and ``Backend.to_numpy``.

There are as many devices as one likes. Arrays are made on the current one, which ``with strict.Device(1):`` chooses,
and stay there; all that computes refuses those of another, as CuPy does where GPUs can't reach each other's memory.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from cuda import emulator
from cuda.devices import Device, current
from cuda.tape import do, no_waiting

from minigrad.backend import Backend, Devices, device
from minigrad.kernels.cupy import CupyKernels
from minigrad.kernels.generic import Kernels

#: what this is to DLPack: kDLExtDev
EXTERNAL = 12


class StrictArray:
    """A NumPy array behind glass."""

    __slots__ = ("__weakref__", "device", "hidden")
    __array_ufunc__ = None

    def __init__(self, hidden):
        self.hidden = hidden
        self.device = current()

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion of a StrictArray to a NumPy array")

    def __reduce__(self):  # as CuPy's, to the device that is current then
        return StrictArray, (self.hidden,)

    def __dlpack__(self, **how):
        raise BufferError("a StrictArray does not leave its device")

    def __dlpack_device__(self):
        return EXTERNAL, self.device

    def __getattr__(self, name):
        value = getattr(self.hidden, name)
        if not callable(value):
            return _wrap(value)
        if name in ("item", "tolist"):  # which CuPy allows from anywhere
            _count("to_numpy")
            return value
        return _lifted(getattr(_unwrap(self), name))

    def __getitem__(self, key):
        return _wrap(do(_unwrap(self).__getitem__, [_unwrap(key)]))

    def __setitem__(self, key, value):
        do(_unwrap(self).__setitem__, [_unwrap(key), _unwrap(value)])

    def __len__(self):
        return len(self.hidden)

    def __bool__(self):
        _count("to_numpy")
        return bool(self.hidden)

    def __repr__(self):
        return f"StrictArray({self.hidden!r})"


def _operator(name):
    def method(self, *others):
        if any(hasattr(other, "lift") for other in others):
            return NotImplemented  # CuPy asks the __array_ufunc__ of a Tensor
        value = _lifted(getattr(_unwrap(self), name))(*others)
        return self if name.startswith("__i") and name != "__invert__" else value

    method.__name__ = name
    return method


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
_OTHERS = ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge")
for _name in [prefix + op for op in _BINARY for prefix in ("", "r", "i")] + list(_OTHERS):
    setattr(StrictArray, f"__{_name}__", _operator(f"__{_name}__"))


class StrictModule:
    """NumPy's functions. Only ``asarray`` and ``array`` let NumPy arrays in, and those of other devices."""

    __name__ = "strict"

    def __getattr__(self, name):
        return _Function(getattr(np, name))

    def asarray(self, value, dtype=None):
        elsewhere = isinstance(value, StrictArray) and value.device != current()
        return self.array(value, dtype, copy=True if elsewhere else None)

    def concatenate(self, arrays, axis=0):
        _count("from_numpy")  # CuPy sends the device the addresses of the arrays
        return _lifted(np.concatenate)(arrays, axis=axis)

    def array(self, value, dtype=None, copy=True):
        _count_arrival(value)
        return _wrap(np.array(_unwrap(value, anywhere=True), dtype, copy=copy))

    def from_dlpack(self, value):
        """As ``cupy.from_dlpack``, of Tensors alone."""
        return value.data


class _Function:
    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        return _lifted(self.function)(*args, **kwargs)

    def at(self, *args):
        return _lifted(self.function.at)(*args)


def _lifted(function):
    def call(*args, **kwargs):
        args = [_unwrap(a) for a in args]
        kwargs = {name: _unwrap(a) for name, a in kwargs.items()}
        with np.errstate(all="ignore"):  # a GPU does not warn
            return _wrap(do(function, args, kwargs))

    return call


def _unwrap(value, anywhere=False):
    if isinstance(value, StrictArray):
        if value.device != current() and not anywhere:
            raise ValueError(
                f"a StrictArray of device {value.device}, while {current()} is current"
            )
        return value.hidden
    if isinstance(value, np.ndarray) and not anywhere:
        raise TypeError("an operation mixes StrictArrays and NumPy arrays")
    if isinstance(value, (tuple, list)):
        return type(value)(_unwrap(v) for v in value)
    return value


def _wrap(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(value))
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
        return tuple(_wrap(v) for v in value)
    return value


#: how often data crossed between the host and the device, by direction; numbers that become arrays are data too
crossings = {"from_numpy": 0, "to_numpy": 0}


def _count(direction):
    no_waiting()
    crossings[direction] += 1


def _count_arrival(value):
    if not isinstance(value, StrictArray):
        _count("from_numpy")


def _from_numpy(array):
    _count("from_numpy")
    return StrictArray(np.array(array))


def _to_numpy(array):
    _count("to_numpy")
    return np.array(array.hidden)


def load():
    """The backend, for ``minigrad.backend.register``."""
    module = StrictModule()
    kernels = CupyKernels(module, emulator.Emulator()) if emulated() else Kernels(module)
    devices = Devices(lambda array: array.device, current, Device, "strict.Device")
    plain = Backend("strict", module, StrictArray, kernels, _from_numpy, _to_numpy)
    return device(replace(plain, devices=devices))


def emulated():
    """Whether the CUDA kernels stand in for a GPU's; else the generic ones run on the device."""
    return emulator.COMPILER is not None and os.environ.get("MINIGRAD_KERNELS") != "numpy"
