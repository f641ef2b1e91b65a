"""Tensors, and ``apply``, the one door to all computing."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np

from . import backend as backends
from .conversion import Convertible
from .dtypes import floating, half
from .messages import Size, explained, kind_of, not_a_tensor
from .op import Op
from .ops.methods import Methods
from .tape import HOST_WRITE, LITERAL, Leaf, Node, Ref, now, recording, revised, tracing

Array = Any
by_type = backends.by_type
new = object.__new__
#: the ``ref`` of a tensor that wraps an array from outside
OUTSIDE: Any = object()


def apply(op: Op, *inputs: Any) -> Any:
    """Run ``op`` on ``inputs`` and record it where a gradient may come back.

    Everything that computes comes through here: forward passes, backward passes, optimizer updates, running
    statistics. The first input is always a Tensor; later ones may be None where the op allows it.

    Returns
    -------
    Tensor, tuple of Tensors, or None for an op that works in place

    Raises
    ------
    TypeError
        If the inputs are arrays of different backends.
    ValueError
        If they are on different devices of one, or on another than the current device.
    """
    tracer = tracing.get()
    if tracer is not None:
        tracer.before(op, inputs)
    if len(inputs) == 2 and inputs[1] is not None:  # as most have; loops would cost a small add
        x, y = inputs
        a, b = x._data, y._data
        backend = by_type[type(a)]
        if type(b) is not backend.array or backend.devices is not None:
            _operands(op, inputs)
        refs: Any = (x._ref, y._ref)
        result = op.forward(backend.kernels, a, b)
    else:
        backend, arrays, refs = _operands(op, inputs)
        result = op.forward(backend.kernels, *arrays)
    made: Any = None
    outputs: tuple[Tensor, ...] = ()
    if type(result) is backend.array:
        made = new(Tensor)
        made._data, made._ref = result, None
        made._version = inputs[0]._shared_version() if op.aliases else None
        outputs = (made,)
    elif result is None:
        time = now()
        for t in inputs[: op.writes]:
            if t._version is None:
                t._version = [time]
            t._version[0] = time
    else:  # NumPy's reductions to no axes give scalars
        single, made = isinstance(result, np.generic), []
        for array in (result,) if single else result:
            made.append(y := new(Tensor))
            y._data, y._ref, y._version = backend.xp.asarray(array), None, None
        outputs = tuple(made)
        made = outputs[0] if single else outputs
    if made is not None and any(refs) and op.differentiable and recording.get():
        Node(op, inputs, refs, outputs)
    if tracer is not None:
        tracer.applied(op, inputs, outputs)
    return made


def _operands(op: Op, inputs: tuple[Any, ...]) -> tuple[Any, list[Array], list[Ref | None]]:
    """The backend of the inputs, their arrays and their values, None where an input is; raise if they are apart."""
    backend = by_type[type(inputs[0]._data)]
    arrays: list[Array] = []
    refs: list[Ref | None] = []
    for t in inputs:
        if t is None:
            arrays.append(None)
            refs.append(None)
            continue
        arrays.append(t._data)
        refs.append(t._ref)
        if type(t._data) is not backend.array:
            raise TypeError(
                f"{type(op).__name__}: inputs are on different backends, {backend.name} and "
                f"{t.backend}; move one with .to(backend)"
            )
    if backend.devices is not None:
        backend.devices.check(type(op).__name__, arrays)
    return backend, arrays, refs


class Tensor(Methods["Tensor"], Convertible):
    """An array that remembers how it was computed.

    Made by ``minigrad.tensor``, which copies, from any data, and by every op. Called itself, ``Tensor(array)`` wraps an
    array without a copy: the array belongs to the tensor from then on, and ``t += 1`` changes the caller's memory. Only
    what kernels can't read is copied, into this machine's byte order and an aligned place; arrays of anything but real
    numbers are a TypeError.

    ``+= -= *= /= **= @=`` change a tensor in place, in its own dtype and shape, if no op recorded it: parameters,
    buffers, data, and their views (``t[0]``, ``t.T``), which share memory. A leaf that requires a gradient is changed
    under ``no_grad`` only. Where the result has to be recorded, because the tensor was computed by a recorded op or
    the right side requires a gradient, it is a new tensor under the old name.

    Attributes
    ----------
    shape, ndim, size, dtype
        As of a NumPy array.
    backend : str
        "numpy" or "cupy".
    data : array
        The NumPy or CuPy array, to read. To change a tensor in place, use ``t -= a`` or ``t.copy_(a)``, under
        ``no_grad`` where it requires a gradient, or assign an array of its shape and dtype: ``t.data = t.data - a``. A
        graph that still needs the old value then refuses to go backward. Writing into the array (``t.data[0] = 1``,
        ``t.data -= a``) would go unseen, so NumPy arrays refuse it; CuPy's can't, so don't between a forward and its
        backward.
    grad : Tensor or None
        What ``backward`` collected, for leaves (tensors made with ``requires_grad=True``).
    requires_grad : bool
        Whether a gradient flows back to or through this tensor. May be set on leaves.
    """

    __slots__ = ("_data", "_ref", "_version")

    def __init__(
        self, data: Array, ref: Ref | None = OUTSIDE, version: list[int] | None = None
    ) -> None:
        if type(data) not in by_type:
            raise TypeError(f"Tensor wraps an array, got {kind_of(data)}: use minigrad.tensor")
        if ref is OUTSIDE:  # what ops made needs no look
            data, ref = by_type[type(data)].usable(data), None
        self._data = data
        self._ref = ref
        self._version = version

    # --- what it is ---

    @property
    def data(self) -> Any:
        self._look(".data")
        return by_type[type(self._data)].read_only(self._data)

    @data.setter
    def data(self, value: Any) -> None:
        if isinstance(value, np.generic):  # what NumPy makes of its arrays of no axes
            value = np.asarray(value)
        backend = by_type[type(self._data)]
        if backends.of(value) is not backend:
            raise TypeError(
                f"data: expected a {self.backend} array, got {kind_of(value)}; use copy_"
            )
        if (there := backends.where(value)) != (here := backends.where(self._data)):
            raise ValueError(f"data: expected an array on {here}, got one on {there}")
        if not backends.writable(self._data):
            raise ValueError(
                "data: this tensor shares memory that must not be written to, as that of JAX; "
                "copy it with minigrad.tensor"
            )
        if value.shape != self.shape or value.dtype.newbyteorder("=") != self.dtype:
            raise ValueError(
                f"data: expected shape {self.shape} and dtype {self.dtype}, got {value.shape} and {value.dtype}"
            )
        tracer = tracing.get()
        if tracer is not None:
            tracer.before(HOST_WRITE, (self,))
        self._data[...] = value
        self._bump()

    def as_value(self, ref: Ref) -> Tensor:
        """The same data, known as the value ``ref``."""
        return Tensor(self._data, ref, self._version)

    def filled(self, value: float) -> Tensor:
        """A tensor of this one's shape, dtype and backend, all ``value``."""
        data = self._data
        return literal(Tensor(by_type[type(data)].xp.full(data.shape, value, data.dtype), None))

    def _look(self, how: str) -> None:
        """Report to the tracer that ``how`` reads the values on the host."""
        tracer = tracing.get()
        if tracer is not None:
            tracer.host_read(self, how)

    def _bump(self) -> None:
        """Note that the data changed in place."""
        self._shared_version()[0] = now()

    def _shared_version(self) -> list[int]:
        """When the data last changed in place, for all tensors that share them."""
        if self._version is None:
            self._version = [-1]
        return self._version

    # Properties that Python reads without a frame of their own.
    shape: tuple[int, ...] = property(attrgetter("_data.shape"))  # type: ignore[assignment]
    ndim: int = property(attrgetter("_data.ndim"))  # type: ignore[assignment]
    size: int = property(lambda self: Size(self._data.size))  # type: ignore[assignment]
    dtype: np.dtype = property(attrgetter("_data.dtype"))  # type: ignore[assignment]

    @property
    def backend(self) -> str:
        return by_type[type(self._data)].name

    @property
    def requires_grad(self) -> bool:
        return self._ref is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._ref is not None and not isinstance(self._ref[0], Leaf):
            raise RuntimeError(
                "requires_grad: only a leaf's can be set; use .detach() to cut a graph"
            )
        if value and not floating(self.dtype):
            raise TypeError(f"requires_grad: expected a floating dtype, got {self.dtype}")
        if value != self.requires_grad:
            self._ref = (Leaf(), 0) if value else None
            revised[0] = now()

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op computed it."""
        return self._ref is None or isinstance(self._ref[0], Leaf)

    @property
    def grad(self) -> Tensor | None:
        leaf = self._ref and self._ref[0]
        if not isinstance(leaf, Leaf):
            return None
        tracer = tracing.get()
        if tracer is not None:
            tracer.host_read(leaf, ".grad")
        return leaf.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        leaf = self._ref and self._ref[0]
        if not isinstance(leaf, Leaf):
            raise RuntimeError("grad: only leaves that require a gradient have one")
        if value is not None and (not isinstance(value, Tensor) or value.shape != self.shape):
            raise ValueError(
                f"grad: expected a Tensor of shape {self.shape} or None, got {value!r}"
            )
        leaf.assign(value)

    # --- to and from the outside ---

    def detach(self) -> Tensor:
        """The same data without its history; changing one in place changes both."""
        if self._version is None:
            self._version = [-1]
        same = new(Tensor)
        same._data, same._ref, same._version = self._data, None, self._version
        return same

    def numpy(self) -> np.ndarray:
        """A copy as a NumPy array."""
        self._look(".numpy()")
        return by_type[type(self._data)].to_numpy(self._data)

    def item(self) -> float | int | bool:
        """The value of a tensor with one element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}; use .tolist()")
        self._look(".item()")
        value: float | int | bool = by_type[type(self._data)].to_numpy(self._data).item()
        return value

    def tolist(self) -> Any:
        """The values as Python numbers, in nested lists."""
        self._look(".tolist()")
        values = by_type[type(self._data)].to_numpy(self._data)
        return (values.astype(np.float32) if values.dtype.kind == "V" else values).tolist()

    @explained
    def to(self, backend: str) -> Tensor:
        """A copy on a backend's current device, a new leaf if this requires a gradient; itself if it is there."""
        if backends.where(self._data) == backends.get(backend).here():
            return self
        return tensor(self, requires_grad=self.requires_grad, backend=backend)

    def cuda(self) -> Tensor:
        """``to("cupy")``."""
        return self.to("cupy")

    def cpu(self) -> Tensor:
        """``to("numpy")``."""
        return self.to("numpy")

    def floating(self) -> Tensor:
        """Itself, or as float32 if it holds integers or booleans."""
        return self if floating(self.dtype) else self.astype(np.float32)

    def widened(self) -> Tensor:
        """Itself, or as float32 if it holds float16 or bfloat16, which sums and their gradients are computed in."""
        return self.astype(np.float32) if half(self._data.dtype) else self

    def lift(self, value: Any, op: Op | str) -> Tensor:
        """``value`` as an operand beside this tensor in ``op``, or in the function of that name. A number takes this
        tensor's dtype, or float32 where that one is integer and the number is not; a list becomes float32, or float64
        beside that; an array is copied and keeps its own."""
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (bool, int, float, np.floating, np.integer, np.bool_)):
            dtype = self.dtype
            if dtype.kind == "b" and not isinstance(value, (bool, np.bool_)):
                dtype = np.dtype(np.int64)
            if not floating(dtype) and isinstance(value, (float, np.floating)):
                dtype = np.dtype(np.float32)
            return literal(Tensor(by_type[type(self._data)].scalar(value, dtype), None))
        if isinstance(value, (list, tuple)) and not any(hasattr(v, "lift") for v in value):
            double = self.dtype == np.float64  # float32 would round its numbers
            return tensor(value, dtype=np.float64 if double else None, backend=self.backend)
        if (own := backends.of(value)) is not None or isinstance(value, np.ndarray):
            return tensor(value, backend=own.name if own else "numpy")
        name = op if isinstance(op, str) else type(op).__name__.lower()
        raise TypeError(f"{name}: {not_a_tensor(value)}")

    def lift_index(self, value: Any, name: str) -> Tensor:
        """``value`` as an index into this tensor: a list, tuple or range becomes an array of its dtype here."""
        if isinstance(value, (list, tuple, range, bool, np.bool_)):
            array = np.asarray(value)
            empty = array.size == 0
            array = array.astype(np.int64) if empty else array
            return literal(tensor(array, backend=self.backend))
        return self.lift(value, name)

    apply = staticmethod(apply)

    def __repr__(self) -> str:
        values = self.numpy()
        if values.dtype.kind == "V":  # bfloat16: NumPy would print whole numbers
            values = values.astype(np.float32)
        text = np.array2string(values, separator=", ", prefix="Tensor(")
        if self.dtype != np.float32:
            text += f", dtype={self.dtype}"
        if self.backend != "numpy":
            text += f", backend={self.backend!r}"
        return f"Tensor({text}{', requires_grad=True' if self.requires_grad else ''})"


@explained
def tensor(
    data: Any, *, requires_grad: bool = False, dtype: Any = None, backend: str | None = None
) -> Tensor:
    """A Tensor holding a copy of ``data``.

    Parameters
    ----------
    data : number, nested list, NumPy or CuPy array, or Tensor
        Arrays and Tensors keep their dtype; Python numbers and lists become float32.
    requires_grad : bool
        Whether to collect a gradient for it; needs a floating dtype.
    dtype : NumPy dtype or "bfloat16", optional
        Overrides the rule above.
    backend : {"numpy", "cupy"}, optional
        By default CuPy arrays stay on theirs and all else goes to the default backend; of several GPUs to the current
        one (``with cupy.cuda.Device(1):``).

    Raises
    ------
    TypeError
        If the data are not real numbers, or require a gradient and are not floating.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tensor([1, 2.5])
    Tensor([1. , 2.5])
    """
    array = data._data if isinstance(data, Tensor) else data
    t = Tensor(backends.as_array(array, dtype, backend), None)
    if requires_grad:
        t.requires_grad = True
    if isinstance(data, (bool, int, float, list, tuple)):
        literal(t)
    return t


def literal(t: Tensor) -> Tensor:
    """``t``, which was created from Python literals: a constant under capture."""
    tracer = tracing.get()
    if tracer is not None:
        tracer.applied(LITERAL, (), (t,))
    return t
