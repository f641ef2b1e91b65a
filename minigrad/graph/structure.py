"""Structure of arguments and results: Tensors in tuples, lists and dicts, and what each call must have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

from .. import backend as backends
from ..tensor import Tensor, tensor
from .guards import plain, same

#: the place of a tensor in a structure
_TENSOR = object()


@dataclass(frozen=True)
class Kind:
    """The properties of a tensor that a replay depends on."""

    shape: tuple[int, ...]
    dtype: Any
    where: str
    requires_grad: bool

    def admits(self, t: Any) -> bool:
        """Whether this is a Tensor of the kind; a gradient need not be required where it was at capture."""
        if not isinstance(t, Tensor):
            return False
        array, kind = t._data, backends.by_type[type(t._data)]
        return (
            array.shape == self.shape
            and array.dtype == self.dtype
            and (kind.name == self.where or backends.where(array) == self.where)
            and (self.requires_grad or t._ref is None)
        )

    def __str__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"shape {self.shape}, {self.dtype} on {self.where}{grad}"


def kind_of(t: Tensor) -> Kind:
    """Return the kind of a tensor."""
    return Kind(t.shape, t.dtype, backends.where(t._data), t.requires_grad)


@dataclass(frozen=True)
class Signature:
    """The arguments that a graph was captured for, and the structure of its results."""

    #: the structure of the arguments: places of tensors, and everything else
    arguments: Any
    #: what is known of the tensors
    kinds: tuple[Kind, ...]
    results: Any = None

    @cached_property
    def plain(self) -> bool:
        """Whether the arguments are Tensors only, each by position."""
        return self.arguments == ((_TENSOR,) * len(self.kinds), _Ordered())

    def bind(self, title: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """Return the tensors among the arguments of a call; raise if they do not fit."""
        tensors = self.match(args, kwargs)
        if tensors is not None:
            return tensors
        arguments, tensors = take_apart((args, kwargs))
        if arguments != self.arguments:
            raise TypeError(
                f"{title}: called with other arguments than it was captured for: expected "
                f"{_shown(self.arguments)}, got {_shown(arguments)}"
            )
        i = [kind.admits(t) for kind, t in zip(self.kinds, tensors, strict=True)].index(False)
        expected, t = self.kinds[i], tensors[i]
        error = ValueError if t.shape != expected.shape else TypeError
        raise error(
            f"{title}: was captured for input {i} of {expected}, got {kind_of(t)}; capture it for this one too, or "
            "use minigrad.jit, which does"
        )

    def match(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor] | None:
        """Return the tensors among arguments that fit; None if they do not."""
        kinds = self.kinds
        # The usual case; taking arguments apart takes longer than a small kernel.
        simple = self.plain and not kwargs and len(args) == len(kinds)
        if simple and all(map(Kind.admits, kinds, args)):
            return list(args)
        arguments, tensors = take_apart((args, kwargs))
        fits = arguments == self.arguments and all(map(Kind.admits, kinds, tensors))
        return tensors if fits else None

    def rebuild(self, tensors: Iterable[Tensor]) -> Any:
        """Return the results with ``tensors`` in their places."""
        found = iter(tensors)
        return next(found) if self.results is _TENSOR else put_together(self.results, found)


def take_apart(value: Any, other: Callable[[Any], Any] | None = None) -> tuple[Any, list[Tensor]]:
    """Separate the structure of a value from the Tensors and arrays in it; ``other`` converts everything else."""
    tensors: list[Tensor] = []

    def leaf(v: Any) -> Any:
        if isinstance(v, Tensor) or backends.of(v) is not None:
            tensors.append(v if isinstance(v, Tensor) else tensor(v))
            return _TENSOR
        return (other or _Static)(v)

    return _map(leaf, value, _Ordered), tensors


def names_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """Name the Tensors and arrays among arguments by the function's signature: x, pair[0], options['scale']."""
    try:
        parameters = [*signature(getattr(function, "forward", function)).parameters.values()]
    except (TypeError, ValueError):  # as some functions in C have none
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    names += [f"{rest}[{i}]" for i in range(len(args) - len(names))]
    return [
        n for pair in (*zip(names, args, strict=False), *kwargs.items()) for n in _places(*pair)
    ]


def _places(name: str, value: Any) -> list[str]:
    if type(value) in (tuple, list, dict):
        items = value.items() if type(value) is dict else enumerate(value)
        return [n for key, v in items for n in _places(f"{name}[{key!r}]", v)]
    return [name] if isinstance(value, Tensor) or backends.of(value) is not None else []


def put_together(structure: Any, tensors: Iterator[Tensor]) -> Any:
    """Rebuild a value from its structure and its tensors."""

    def leaf(v: Any) -> Any:
        return next(tensors) if v is _TENSOR else getattr(v, "value", None)

    return _map(leaf, structure, dict)


def fixed(structure: Any) -> list[Any]:
    """Return the arguments in a structure that are no tensors."""
    found: list[Any] = []
    _map(found.append, structure, dict)
    return [v.value for v in found if isinstance(v, _Static)]


def _map(leaf: Callable[[Any], Any], value: Any, mapping: type[dict[Any, Any]]) -> Any:
    """Apply a function to everything in tuples, lists and dicts, which become a ``mapping``."""
    if type(value) in (tuple, list):
        return type(value)([_map(leaf, v, mapping) for v in value])
    if type(value) in (dict, _Ordered):
        return mapping({k: _map(leaf, v, mapping) for k, v in value.items()})
    return leaf(value)


class _Ordered(dict[Any, Any]):
    """A dict in a structure: tensors are in its order."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ordered) and [*self.items()] == [*other.items()]


class _Static:
    """An argument that is no tensor, equal to the same object or to an equal number or string."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and same(self.value, other.value)

    def __repr__(self) -> str:
        return repr(self.value) if plain(self.value) else type(self.value).__name__


def _shown(structure: Any) -> str:
    """Show a structure as it would be written in a call."""
    if isinstance(structure, dict):
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in structure.items()) + "}"
    if isinstance(structure, (tuple, list)):
        inside = ", ".join(map(_shown, structure))
        return f"({inside})" if isinstance(structure, tuple) else f"[{inside}]"
    return "Tensor" if structure is _TENSOR else repr(structure)
