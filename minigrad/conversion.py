"""A Tensor as seen by Python, NumPy and other libraries: numbers, text, iteration, devices, DLPack, pickles.

``minigrad.from_dlpack`` is the way in. ``pickle`` and ``copy.deepcopy`` carry the values, ``requires_grad`` and a
leaf's ``grad``, and no graph: the output of an op is a leaf afterwards, except that a tensor whose graph was freed
still refuses to go backward. Two tensors of one array (``x`` and ``x.detach()``) share it afterwards as well, while a
view (``x.T``) gets memory of its own. ``copy.copy`` is the same value in the same memory.
"""

from __future__ import annotations

import copyreg
import operator
import sys
from typing import Any

import numpy as np

from . import backend as backends
from .op import Op
from .tape import FREED, Leaf, Node, now, revised

#: NumPy's functions for the operators of an array on the left, which it can't tell from calls of the functions
_OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "power": operator.pow,
    "matmul": operator.matmul,
}
_COMPARISONS = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
#: NumPy's functions that have another name here
_OURS = {"absolute": "abs", "amax": "max", "amin": "min", "dot": "matmul"}
_OURS |= dict.fromkeys(("append", "hstack", "vstack"), "concatenate")


class Convertible:
    """Base class of Tensor."""

    __slots__ = ()

    def __len__(self: Any) -> int:
        if not self.ndim:
            raise TypeError("len: a tensor of no axes has no length; use .item()")
        return self.shape[0]

    def __iter__(self: Any) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self: Any) -> bool:
        if self.size != 1:
            raise ValueError(
                f"bool: the truth of a tensor of shape {self.shape} is ambiguous; use .min() or .max() of a mask"
            )
        return bool(self.item())

    def __float__(self: Any) -> float:
        return float(self.item())

    def __int__(self: Any) -> int:
        return int(self.item())

    def __format__(self: Any, spec: str) -> str:
        """As a Python number for one element: ``f"{loss:.4f}"``."""
        if not spec:
            return str(self)
        if self.size != 1:
            raise TypeError(
                f"format: expected one element for the format {spec!r}, got shape {self.shape}; "
                "format the elements of .numpy()"
            )
        return format(self.item(), spec)

    def __round__(self: Any, digits: int | None = None) -> float | int | bool:
        """As a Python number for one element."""
        if self.size != 1:
            raise TypeError(f"round: expected one element, got shape {self.shape}")
        return round(self.item(), digits)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "a Tensor is not converted to a NumPy array silently: call .numpy(); minigrad.stack and "
            "minigrad.concatenate join several Tensors"
        )

    def __array_ufunc__(self: Any, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        name = ufunc.__name__
        operate = _OPERATORS.get(name) or _COMPARISONS.get(name)
        ours = isinstance(inputs[0], Convertible)
        if operate and method == "__call__" and not settings and not ours:
            a, b = inputs
            if name in _COMPARISONS and isinstance(a, np.ndarray) and not a.ndim:
                a = a[()]  # a scalar, which NumPy has made an array
            return operate(self.lift(a, name), b)
        raise TypeError(_instead_of(name if method == "__call__" else f"{name}.{method}", self))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ in ("shape", "ndim", "size") and len(args) == 1 and not kwargs:
            return getattr(self, func.__name__)
        raise TypeError(_instead_of(func.__name__, self))

    @property
    def device(self: Any) -> int | None:
        """The number of the tensor's device; None on a backend with a single device."""
        devices = backends.by_type[type(self._data)].devices
        return None if devices is None else devices.of(self._data)

    def load(self: Any, values: Any) -> None:
        """Copy a NumPy array of this shape and dtype into the tensor, on any device."""
        with backends.beside(self._data):
            self.data = backends.as_array(values, None, self.backend)

    def move(self: Any, backend: str) -> None:
        """Move a leaf to a backend's current device, in place; its ``grad`` is dropped."""
        self._look(".to()")
        self._data = backends.as_array(self._data, None, backend)
        self._bump()
        revised[0] = now()
        if self._ref is not None:
            self._ref[0].grad = None

    def __dlpack__(self: Any, **how: Any) -> Any:
        """The array as a DLPack capsule, for the ``from_dlpack`` of PyTorch, JAX, CuPy, NumPy: the same memory.

        The other library sees changes in place, and must write nothing between a forward and its backward: the tape
        would not see it. JAX copies memory that does not begin at a multiple of 64 bytes.

        Parameters
        ----------
        stream, max_version, dl_device, copy
            Passed on to the array:
            https://data-apis.org/array-api/latest/API_specification/generated/array_api.array.__dlpack__.html

        Raises
        ------
        BufferError
            If this tensor requires a gradient, which DLPack has no place for: detach it.
        """
        if self.requires_grad:
            raise BufferError(
                "__dlpack__: a tensor that requires a gradient is not handed out, since the gradient "
                "would not follow; use .detach()"
            )
        self._look(".__dlpack__()")
        return self._data.__dlpack__(**how)

    def __dlpack_device__(self: Any) -> tuple[int, int]:
        """The DLPack type and number of the memory's device."""
        return self._data.__dlpack_device__()

    def __copy__(self: Any) -> Any:
        self._shared_version()
        copy = object.__new__(type(self))
        for name, value in self._attributes().items():
            setattr(copy, name, value)
        return copy

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        self._look("pickle or copy.deepcopy")
        state = self._attributes()
        if not self.is_leaf:
            node = self._ref[0]
            state["_ref"] = type(node.op).__name__ if node.parents is FREED else (Leaf(), 0)
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def _attributes(self) -> dict[str, Any]:
        """The slots, and the attributes of a subclass."""
        reduced: Any = super().__reduce_ex__(2)
        attributes, slots = reduced[2]
        return {**(attributes or {}), **slots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        array, ref, version = state["_data"], state["_ref"], state["_version"]
        known = backends.of(array)  # loads a backend that this process has not used yet
        if (
            known is None
            or (known.name == "numpy" and not (array.flags.behaved and array.dtype.isnative))
        ):  # a memory map of joblib's, a read-only or unaligned buffer, another machine's byte order
            state["_data"] = backends.as_array(array, None, "numpy")
        if isinstance(ref, str):  # the op whose graph was freed
            state["_ref"] = (Node(type(ref, (Op,), {})(), (), FREED, ()), 0)
        if version is not None:
            version[0] = -1  # the clock was another process's
        for name, value in state.items():
            setattr(self, name, value)


for _name, _instead in {
    "and &": "x * y for masks", "or |": "minigrad.maximum(x, y) for masks", "xor ^": "x != y for masks",
    "invert ~": "x == 0 for masks", "floordiv //": "x.numpy()", "mod %": "x.numpy()", "divmod divmod": "x.numpy()",
    "pos +": "x itself", "lshift <<": "x * 2**n",
}.items():  # fmt: skip

    def _lacking(
        *_: Any, message: str = f"{_name.split()[1]}: no operator of a Tensor; use {_instead}"
    ) -> Any:
        raise TypeError(message)

    setattr(Convertible, f"__{_name.split()[0]}__", _lacking)


def _instead_of(name: str, t: Any) -> str:
    """The error message for a function of NumPy that was given a Tensor."""
    ours = _OURS.get(name, name)
    ways = ["an operator (x + y)"] if name in (*_OPERATORS, *_COMPARISONS, "negative") else []
    ways += [f"mg.{ours}"] if hasattr(sys.modules[__package__], ours) else []
    ways += [f".{ours}()"] if hasattr(t, ours) else []
    return f"numpy.{name}: expected arrays, got a minigrad Tensor: use {' or '.join([*ways, '.numpy()'])}"
