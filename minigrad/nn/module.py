"""Modules: objects whose attributes are parameters, buffers and other modules.

Registration is assignment: whatever Parameter, Buffer or Module stands in an attribute, or in a list or tuple
there, is found under the attribute's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import backend as backends
from ..messages import require_state
from ..tape import Settled, listening
from ..tensor import Tensor, tensor

#: the module that was called first, while it runs: layers below it are known by their names in it
_outermost: ContextVar[Module | None] = ContextVar("outermost", default=None)


class Parameter(Tensor):
    """A tensor that an optimizer moves; it requires a gradient."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, backend: str | None = None) -> None:
        super().__init__(tensor(data, dtype=dtype, backend=backend)._data)
        self.requires_grad = True


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained: running statistics."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, backend: str | None = None) -> None:
        super().__init__(tensor(data, dtype=dtype, backend=backend)._data)


class Module(Settled):
    """Base class of layers and models: define ``forward``, call the module.

    Attributes
    ----------
    training : bool
        Whether layers behave as in training; set by ``train()`` and ``eval()``.

    Examples
    --------
    >>> import minigrad as mg
    >>> class Shift(mg.nn.Module):
    ...     def __init__(self):
    ...         self.by = mg.nn.Parameter([1.0])
    ...     def forward(self, x):
    ...         return x + self.by
    >>> Shift()(mg.zeros(2))
    Tensor([1., 1.], requires_grad=True)
    >>> Shift().state_dict()
    {'by': array([1.], dtype=float32)}
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outermost, heard = _outermost.get(), listening.get()
        if outermost is not None and heard is None:
            return self.forward(*args, **kwargs)
        token = _outermost.set(outermost or self)
        try:
            with nullcontext() if heard is None else heard.calls(self, outermost or self):
                return self.forward(*args, **kwargs)
        finally:
            _outermost.reset(token)

    def title(self) -> str:
        """How messages call this module: its class, and inside the call of a larger one its name there."""
        root = _outermost.get()
        names = [name for name, module in root.named_modules() if module is self] if root else []
        return " ".join([type(self).__name__, *(repr(name) for name in names if name)])

    def train(self, mode: bool = True) -> Any:
        """Put this module and all below it in training mode, and return it."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """Put this module and all below it in eval mode, and return it."""
        return self.train(False)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """All modules with their dotted names; this one's is empty."""
        yield from _find(Module, "", self, set())

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [p for _, p in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names, each once."""
        yield from _find(Parameter, "", self, set())

    def buffers(self) -> list[Buffer]:
        """All buffers, each once."""
        return [b for _, b in self.named_buffers()]

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their dotted names, each once."""
        yield from _find(Buffer, "", self, set())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            if p.requires_grad:
                p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Parameters and buffers by name, as NumPy copies."""
        return {name: t.numpy() for name, t in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take over parameters and buffers, in place.

        Parameters
        ----------
        state : mapping of names to NumPy arrays or Tensors
        strict : bool
            Whether every name must be there and none be left over; if False, those in common are loaded.

        Raises
        ------
        KeyError
            For missing or unexpected names, if strict.
        ValueError
            If a shape or dtype differs. Whatever is raised, nothing has been loaded.
        """
        require_state(type(self).__name__, state)
        own = dict(self._state())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            raise KeyError(
                f"load_state_dict into {type(self).__name__}: missing {missing or 'nothing'}, "
                f"unexpected {unexpected or 'nothing'}; strict=False loads what is in common"
            )
        arrays = {}
        for name, t in own.items():
            if name in missing:
                continue
            value = state[name]
            array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
            if array.shape != t.shape or array.dtype != t.dtype:
                raise ValueError(
                    f"load_state_dict into {type(self).__name__}: expected {name} of shape {t.shape} "
                    f"and dtype {t.dtype}, got {array.shape} and {array.dtype}"
                )
            arrays[name] = array
        for name, array in arrays.items():
            own[name].load(array)

    def to(self, backend: str) -> Any:
        """Move all parameters and buffers to a backend, in place, and return this module.

        Gradients of what moves are dropped; an optimizer's state follows at its next step.

        Parameters
        ----------
        backend : {"numpy", "cupy"}
            Of several GPUs the current one: ``with cupy.cuda.Device(1): model.to("cupy")``, from another GPU as well.

        Raises
        ------
        ValueError
            If no backend has that name.
        ImportError, RuntimeError
            If CuPy, or a GPU for it, is missing. Whatever is raised, nothing has moved.
        """
        here = backends.get(backend).here()
        for _, t in self._state():
            if backends.where(t._data) != here:
                t.move(backend)
        return self

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def registered(self) -> Iterator[tuple[str, Any]]:
        """The attributes that are searched for parameters, buffers and modules, with their names."""
        yield from vars(self).items()

    def extra_repr(self) -> str:
        """What a layer says of itself in ``repr``."""
        return ""

    def __repr__(self) -> str:
        below = [f"{name}={module!r}" for name, module in _children(self)]
        if not below:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = ",\n".join(below).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {lines}\n)"


class Sequential(Module):
    """Modules called one after the other.

    Parameters
    ----------
    *layers : Module
        Also found by index and iteration.

    Raises
    ------
    TypeError
        If an argument is no Module.
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"Sequential: expected layer {i} to be a Module, {_no_layer(layer)}"
                )
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def registered(self) -> Iterator[tuple[str, Any]]:
        yield from ((name, value) for name, value in vars(self).items() if name != "layers")
        yield from ((str(i), layer) for i, layer in enumerate(self.layers))

    def __getitem__(self, index: int) -> Module:
        return self.layers[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def _no_layer(value: Any) -> str:
    """What to say of ``value`` where a Module is expected."""
    if isinstance(value, type) and issubclass(value, Module):
        return f"got the class {value.__name__}: call it, as in {value.__name__}()"
    if isinstance(value, (list, tuple)):
        return (
            f"got a {type(value).__name__}: pass its layers one by one, as in Sequential(*layers)"
        )
    if callable(value):
        name = getattr(value, "__name__", repr(value))
        return f"got the function {name}: use its layer (nn.ReLU() for relu), or call it in a Module's forward"
    return f"got {value!r}"


def _find(kind: type, name: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """All instances of ``kind`` at and below ``value``, with their dotted names."""
    if id(value) in seen:
        return
    if isinstance(value, (Module, Tensor)):
        seen.add(id(value))
    if isinstance(value, kind):
        yield name, value
    for child_name, child in _attributes(value):
        yield from _find(kind, f"{name}.{child_name}" if name else child_name, child, seen)


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Module):
        yield from value.registered()
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield str(i), item


def _children(module: Module) -> Iterator[tuple[str, Module]]:
    """The modules directly below, named by attribute and position."""
    for name, value in module.registered():
        for path, found in [(name, value)] if isinstance(value, Module) else _attributes(value):
            if isinstance(found, Module):
                yield path if path == name else f"{name}.{path}", found
