"""Where a tensor's memory is: on which backend and device, shared with other libraries by DLPack, copied, or pickled.

``minigrad.from_dlpack`` is the way in. ``pickle`` and ``copy.deepcopy`` carry the values, ``requires_grad`` and a
leaf's ``grad``, and no graph: what an op computed is a leaf afterwards, except that a tensor whose graph was freed
still refuses to go backward. Two tensors of one array (``x`` and ``x.detach()``) share it afterwards as well, while a
view (``x.T``) gets memory of its own. ``copy.copy`` is the same value in the same memory.
"""

from __future__ import annotations

import copyreg
from typing import Any

from . import backend as backends
from .op import Op
from .tape import FREED, Leaf, Node, now, revised


class Movable:
    """The methods that a Tensor has from this file."""

    __slots__ = ()

    @property
    def device(self: Any) -> int | None:
        """The number of the device that it is on; None on a backend that has but one."""
        devices = backends.by_type[type(self._data)].devices
        return None if devices is None else devices.of(self._data)

    def load(self: Any, values: Any) -> None:
        """Take over a NumPy array of this shape and dtype, in place, wherever this tensor is."""
        with backends.beside(self._data):
            self.data = backends.as_array(values, None, self.backend)

    def move(self: Any, backend: str) -> None:
        """Take a leaf to a backend's current device, in place; a gradient collected so far is dropped."""
        self._look(".to()")
        self._data = backends.as_array(self._data, None, backend)
        self._bump()
        revised[0] = now()
        if self._ref is not None:
            self._ref[0].grad = None

    def __dlpack__(self: Any, **how: Any) -> Any:
        """The array as a DLPack capsule, for the ``from_dlpack`` of PyTorch, JAX, CuPy, NumPy: the same memory.

        Whoever takes it sees what changes here in place, and must write nothing between a forward and its backward:
        the tape would not see it. JAX makes a copy of what does not begin at a multiple of 64 bytes.

        Parameters
        ----------
        stream, max_version, dl_device, copy
            As the protocol has them, for the array to make sense of:
            https://data-apis.org/array-api/latest/API_specification/generated/array_api.array.__dlpack__.html

        Raises
        ------
        BufferError
            If this requires a gradient, which can't go along: detach it.
        """
        if self.requires_grad:
            raise BufferError(
                "__dlpack__: a tensor that requires a gradient is not handed out, since the gradient "
                "would not follow; use .detach()"
            )
        self._look(".__dlpack__()")
        return self._data.__dlpack__(**how)

    def __dlpack_device__(self: Any) -> tuple[int, int]:
        """The type and number of the device that the memory is on, as DLPack counts them."""
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
            state["_ref"] = (Node(type(ref, (Op,), {})(), FREED), 0)
        if version is not None:
            version[0] = -1  # the clock was another process's
        for name, value in state.items():
            setattr(self, name, value)
