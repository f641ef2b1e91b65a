"""Where a tensor's memory is: moving it between backends and devices, and sharing it with other libraries by DLPack.

What Tensor has from this file; ``minigrad.from_dlpack`` is the way in.
"""

from __future__ import annotations

from typing import Any

from . import backend as backends
from .tape import now, revised


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
