"""Arguments and results: tensors in tuples, lists and dicts, and what calls have in common with the captured one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import backend as backends
from ..tensor import Tensor, tensor
from .guards import plain, same

#: stands where a tensor was
_TENSOR = object()


_STANDS_IN = Tensor(np.zeros(()))


@dataclass(frozen=True)
class Kind:
    """What a replay needs to be the same about a tensor."""

    shape: tuple[int, ...]
    dtype: Any
    where: str
    requires_grad: bool

    def admits(self, t: Any) -> bool:
        """Whether this is a Tensor of the kind; one that requires no gradient may stand for one that does."""
        if not isinstance(t, Tensor):
            return False
        array = t._data
        return (
            array.shape == self.shape
            and array.dtype == self.dtype
            and backends.where(array) == self.where
            and (self.requires_grad or t._ref is None)
        )

    def __str__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"shape {self.shape}, {self.dtype} on {self.where}{grad}"


def kind_of(t: Tensor) -> Kind:
    return Kind(t.shape, t.dtype, backends.where(t._data), t.requires_grad)


@dataclass(frozen=True)
class Signature:
    """The arguments a graph was captured for, and how to make its results from tensors.

    Attributes
    ----------
    arguments : Hashable
        The structure of the arguments: where tensors stand, and all that is none.
    kinds : tuple of Kind
        Of the tensors.
    results : structure
        What is returned, with places for tensors.
    """

    arguments: Hashable
    kinds: tuple[Kind, ...]
    results: Any = None

    @cached_property
    def plain(self) -> bool:
        """Whether the arguments are Tensors, one after the other."""
        return self.arguments == take_apart(((_STANDS_IN,) * len(self.kinds), {}))[0]

    def bind(self, title: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The tensors among the arguments of a call.

        Raises
        ------
        TypeError
            If the arguments have another structure, or a tensor's dtype or backend differs.
        ValueError
            If a tensor's shape differs.
        """
        tensors = self.match(args, kwargs)
        if tensors is not None:
            return tensors
        arguments, tensors = take_apart((args, kwargs))
        if arguments != self.arguments:
            raise TypeError(
                f"{title}: called with other arguments than it was captured for: expected "
                f"{_shown(self.arguments)}, got {_shown(arguments)}"
            )
        i, expected, t = next(
            (i, kind, t)
            for i, (kind, t) in enumerate(zip(self.kinds, tensors, strict=True))
            if not kind.admits(t)
        )
        error = ValueError if t.shape != expected.shape else TypeError
        raise error(
            f"{title}: was captured for input {i} of {expected}, got {kind_of(t)}; capture it for this one too, or "
            "use minigrad.jit, which does"
        )

    def match(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor] | None:
        """The tensors among arguments that fit; None for others."""
        kinds = self.kinds
        if self.plain and not kwargs and len(args) == len(kinds):
            # As it most often is; to take arguments apart takes longer than a small kernel.
            for kind, t in zip(kinds, args, strict=True):
                if not kind.admits(t):
                    break
            else:
                return list(args)
        arguments, tensors = take_apart((args, kwargs))
        if arguments != self.arguments or not all(
            kind.admits(t) for kind, t in zip(kinds, tensors, strict=True)
        ):
            return None
        return tensors

    def rebuild(self, tensors: Iterable[Tensor]) -> Any:
        """The results around ``tensors``."""
        return put_together(self.results, iter(tensors))


def take_apart(
    value: Any, other: Callable[[Any], Hashable] | None = None
) -> tuple[Any, list[Tensor]]:
    """The structure of ``value`` and the Tensors in it; arrays become Tensors, ``other`` sees all that is neither."""
    tensors: list[Tensor] = []
    return _visit(value, tensors, other or _Static), tensors


def _visit(value: Any, tensors: list[Tensor], other: Callable[[Any], Hashable]) -> Any:
    if isinstance(value, Tensor):
        tensors.append(value)
        return _TENSOR
    if type(value) in (tuple, list):
        return type(value).__name__, tuple([_visit(v, tensors, other) for v in value])
    if type(value) is dict:
        return "dict", tuple([(k, _visit(v, tensors, other)) for k, v in value.items()])
    if backends.of(value) is not None:
        tensors.append(tensor(value))
        return _TENSOR
    return other(value)


class _Static:
    """An argument that is no tensor: the same one, or an equal number or string."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and same(self.value, other.value)

    def __repr__(self) -> str:
        return repr(self.value) if plain(self.value) else type(self.value).__name__


def put_together(structure: Any, tensors: Any) -> Any:
    if structure is _TENSOR:
        return next(tensors)
    if structure is None or isinstance(structure, _Static):
        return structure and structure.value
    kind, parts = structure
    if kind == "dict":
        return {k: put_together(v, tensors) for k, v in parts}
    values = [put_together(v, tensors) for v in parts]
    return tuple(values) if kind == "tuple" else values


def fixed(structure: Any) -> Iterator[Any]:
    """The arguments in a structure that are no tensors."""
    if isinstance(structure, _Static):
        yield structure.value
    elif isinstance(structure, tuple):
        kind, parts = structure
        for part in parts:
            yield from fixed(part[1] if kind == "dict" else part)


def _shown(structure: Any) -> str:
    """A structure as one would write the call."""
    if structure is _TENSOR:
        return "Tensor"
    if not isinstance(structure, tuple):
        return repr(structure)
    kind, parts = structure
    if kind == "dict":
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in parts) + "}"
    return ("({})" if kind == "tuple" else "[{}]").format(", ".join(map(_shown, parts)))
