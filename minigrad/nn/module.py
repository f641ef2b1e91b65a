"""Modules: objects whose attributes are parameters, buffers and other modules.

Registration is assignment: a Parameter, Buffer or Module in an attribute, or in lists, tuples and dicts there, however
nested, is found under the attribute's name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import numpy as np

from .. import backend as backends
from ..messages import OF_OBJECTS, explain, explained, no_attribute, require_state
from ..tape import now, revised, tracing
from ..tensor import Tensor, tensor
from .hooked import Hooked

#: the modules that are being called, outermost first; the inner ones are only kept for a tracer
scope: ContextVar[tuple[Module, ...]] = ContextVar("scope", default=())


P = ParamSpec("P")
R = TypeVar("R", covariant=True)
Self = TypeVar("Self", bound="Module")


class _Forward(Protocol[P, R]):
    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class Parameter(Tensor):
    """A trainable tensor: it requires a gradient and optimizers update it."""

    __slots__ = ()

    @explained
    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        backend: str | None = None,
        *,
        requires_grad: bool = True,
    ) -> None:
        super().__init__(tensor(data, dtype=dtype, backend=backend)._data)
        self.requires_grad = requires_grad


class Buffer(Tensor):
    """A tensor of a module's state that is not trained: running statistics."""

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None, backend: str | None = None) -> None:
        super().__init__(tensor(data, dtype=dtype, backend=backend)._data)

    @classmethod
    def sharing(cls, t: Tensor) -> Buffer:
        """A Buffer that shares the memory and the history of ``t``."""
        made = cls.__new__(cls)
        Tensor.__init__(made, t._data, t._ref, t._shared_version())
        return made


class Loaded(NamedTuple):
    """Names that loading a state did not match, as in PyTorch."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Hooked):
    """Base class of layers and models: define ``forward``, call the module.

    Parameters, Buffers and Modules are found in attributes, and in lists, tuples, deques and dicts there, however
    nested, by position or key: ``blocks.0.weight``. Other containers are not searched. Over a Parameter or Buffer
    nothing else can be assigned but None (``m.w = None``) or a Module; a Tensor assigned over a Buffer becomes one,
    which shares its memory. To change values, use ``m.w.copy_(a)`` or ``m.w -= a`` under ``no_grad``, or
    ``m.w.data = a``. Items of lists and dicts are not watched: what is assigned over a Parameter there replaces it.

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

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "trainable" and type(self).__module__.startswith("minigrad."):
            raise AttributeError(no_attribute(f"{type(self).__name__!r} object", name, OF_OBJECTS))
        old = vars(self).get(name)
        if isinstance(old, (Parameter, Buffer)):
            if value is old:  # after self.w -= a
                return
            if isinstance(old, Buffer) and type(value) is Tensor:
                value = Buffer.sharing(value)
            elif value is not None and not isinstance(value, (Parameter, Buffer, Module)):
                kind, x = type(old).__name__, f"{type(self).__name__}.{name}"
                raise TypeError(
                    f"{x} is a {kind}, and a {type(value).__name__} would take its place; to change its values, use "
                    f"`{x}.data = ...`, or `{x}.copy_(...)` under minigrad.no_grad(); only a {kind} or None replaces it"
                )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        # Another name may get the same object, which a snapshot of values does not see.
        revised[0] = now()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self: _Forward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        outer, tracer = scope.get(), tracing.get()
        forward: Any = self._hooked if self._hooks else self.forward  # type: ignore[attr-defined]
        if outer and tracer is None:
            return forward(*args, **kwargs)
        token = scope.set((*outer, self))  # type: ignore[arg-type]
        try:
            if tracer is not None:
                tracer.before(self, args)
            return forward(*args, **kwargs)
        except TypeError as error:
            explain(error, self.forward, type(self).__name__)
            raise
        finally:
            scope.reset(token)

    def title(self) -> str:
        """This module's name in messages: its class, and inside the call of a larger one its dotted name there."""
        roots = scope.get()[:1]
        names = [n for root in roots for n, module in root.named_modules() if module is self]
        return " ".join([type(self).__name__, *(repr(name) for name in names if name)])

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and in all modules below; return this module."""
        if mode not in (False, True):
            raise TypeError(f"train: expected mode as a bool, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Set eval mode here and in all modules below; return this module."""
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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters: they become None, or 0 with ``set_to_none=False``."""
        for p in self.parameters():
            if p.requires_grad:
                p.grad = None if set_to_none or p.grad is None else p.filled(0)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Parameters and buffers by name, as NumPy copies."""
        return {name: t.numpy() for name, t in self._state()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Load parameters and buffers, in place.

        Parameters
        ----------
        state : mapping of names to NumPy arrays or Tensors
        strict : bool
            Whether missing and unexpected names are a KeyError; if False, the names in common are loaded.

        Returns
        -------
        Loaded
            ``missing_keys``, which ``state`` lacks, and ``unexpected_keys``, which this module lacks.

        Raises
        ------
        KeyError, ValueError
            For other names, shapes or dtypes. Whatever is raised, nothing has been loaded.
        """
        name = type(self).__name__
        require_state(name, state)
        return load(f"load_state_dict into {name}", dict(self._state()), state, strict)

    @explained
    def to(self: Self, backend: str) -> Self:
        """Move all parameters and buffers to a backend, in place, and return this module.

        Gradients of what moves are dropped; an optimizer's state follows at its next step.

        Parameters
        ----------
        backend : {"numpy", "cupy"}
            Of several GPUs the current one: ``with cupy.cuda.Device(1): model.to("cupy")``, from another GPU as well.

        Raises
        ------
        ValueError, ImportError, RuntimeError
            For an unknown backend, or without CuPy or a GPU. Whatever is raised, nothing has moved.
        """
        here = backends.get(backend).here()
        for _, t in self._state():
            if backends.where(t._data) != here:
                t.move(backend)
        return self

    def cuda(self) -> Any:
        """``to("cupy")``."""
        return self.to("cupy")

    def cpu(self) -> Any:
        """``to("numpy")``."""
        return self.to("numpy")

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def registered(self) -> Iterator[tuple[str, Any]]:
        """The attributes that are searched for parameters, buffers and modules, with their names."""
        yield from vars(self).items()

    def extra_repr(self) -> str:
        """A layer's settings in ``repr``."""
        return ""

    def __repr__(self) -> str:
        found = members(self.registered())
        below = [f"{name}={child!r}" for name, child in found if isinstance(child, Module)]
        if not below:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = ",\n".join(below).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {lines}\n)"


class Container(Module):
    """Base of Sequential, ModuleList and ModuleDict, whose ``layers`` have no name but their index or key."""

    layers: Any

    def registered(self) -> Iterator[tuple[str, Any]]:
        yield from ((name, value) for name, value in vars(self).items() if name != "layers")
        items = self.layers.items() if isinstance(self.layers, dict) else enumerate(self.layers)
        yield from ((str(key), layer) for key, layer in items)

    def __delitem__(self, key: Any) -> None:
        del self.layers[key]

    def __len__(self) -> int:
        return len(self.layers)


class Sequential(Container):
    """Modules called one after the other.

    Parameters
    ----------
    *layers : Module
        Also accessible by index and iteration.
    """

    def __init__(self, *layers: Module) -> None:
        for i, layer in enumerate(layers):
            require_module(f"Sequential: expected layer {i} to be a Module", layer)
        self.layers = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, index: Any) -> Any:
        found = self.layers[index]
        return Sequential(*found) if isinstance(found, list) else found

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


def load(into: str, own: dict[str, Tensor], state: Mapping[str, Any], strict: bool) -> Loaded:
    """Load a state of NumPy arrays, Tensors or torch tensors into tensors; see ``Module.load_state_dict``."""
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    if strict and (missing or unexpected):
        raise KeyError(
            f"{into}: missing {missing or 'nothing'}, unexpected {unexpected or 'nothing'}; strict=False loads what is "
            "in common"
        )
    arrays = {}
    for name, t in own.items():
        if name not in state:
            continue
        try:
            array = _numpy(state[name])
        except TypeError as error:
            raise TypeError(f"{into}: {name}: {error}") from error
        if array.shape != t.shape or array.dtype.newbyteorder("=") != t.dtype:
            raise ValueError(
                f"{into}: expected {name} of shape {t.shape} and dtype {t.dtype}, got {array.shape} and {array.dtype}"
            )
        arrays[name] = array
    for name, array in arrays.items():
        own[name].load(array)
    return Loaded(missing, unexpected)


def _numpy(value: Any) -> np.ndarray:
    """A torch tensor on any device, a Tensor, or an array, as a NumPy array."""
    for step in ("detach", "cpu", "numpy"):
        if hasattr(value, step):
            value = getattr(value, step)()
    return np.asarray(value)


def require_module(expected: str, value: Any) -> None:
    """Raise TypeError for what is no Module: what was ``expected``, what came, and what to do."""
    kind, name = type(value).__name__, getattr(value, "__name__", None)
    if isinstance(value, Module):
        return
    if isinstance(value, type) and issubclass(value, Module):
        got = f"the class {name}: call it, as in {name}()"
    elif isinstance(value, (list, tuple, dict)):
        rest = ".values()" * isinstance(value, dict)
        got = f"a {kind}: pass its layers one by one, as in Sequential(*layers{rest})"
    elif callable(value) and name:
        got = f"the function {name}: use its layer (nn.ReLU() for relu), or call it in a Module's forward"
    else:
        got = repr(value)
    raise TypeError(f"{expected}, got {got}")


def _find(kind: type, name: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """All instances of ``kind`` at and below a module or tensor, with their dotted names."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, kind):
        yield name, value
    if isinstance(value, Module):
        for path, child in members(value.registered()):
            yield from _find(kind, f"{name}.{path}" if name else path, child, seen)


def members(named: Iterable[tuple[str, Any]], inside: Any = ()) -> Iterator[tuple[str, Any]]:
    """The modules and tensors among named values and in containers there; ``inside``: ids of enclosing containers."""
    for name, value in named:
        if isinstance(value, (Module, Tensor)):
            yield name, value
        elif isinstance(value, (list, tuple, dict, deque)) and id(value) not in inside:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            kinds = (Module, Tensor, list, tuple, dict, deque)
            below = ((f"{name}.{k}", v) for k, v in items if isinstance(v, kinds))
            yield from members(below, (*inside, id(value)))
