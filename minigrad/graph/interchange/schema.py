"""An operator's schema, read off the signature of the function that computes it.

Positional parameters are the inputs, Tensors unless they say ``Static``: arrays on the host. Keyword parameters are the
attributes, whose annotation says what a file must give, except for two that the reader fills in: ``opset``, and
``made``, the number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import Parameter, signature
from typing import Any, NamedTuple

import numpy as np

Static = np.ndarray
Array = np.ndarray
Dtype = np.dtype
Ints = tuple[int, ...]
Floats = tuple[float, ...]

#: what the reader knows without the file
FILLED_IN = ("opset", "made")


class Schema(NamedTuple):
    """What a node may have: inputs, at least and at most, those on the host, attributes and which of them it must."""

    least: int
    most: int | None
    static: frozenset[int]
    attributes: dict[str, str]
    required: tuple[str, ...]
    filled_in: tuple[str, ...]


@cache
def schema(function: Callable[..., Any]) -> Schema:
    """The schema of an operator's function."""
    inputs, keywords, most = [], [], True
    for p in signature(function).parameters.values():
        if p.kind is Parameter.KEYWORD_ONLY:
            keywords.append(p)
        elif p.kind is Parameter.VAR_POSITIONAL:
            most = False
        else:
            inputs.append(p)
    own = [p for p in keywords if p.name not in FILLED_IN]
    return Schema(
        sum(p.default is Parameter.empty for p in inputs) or int(not most),
        len(inputs) if most else None,
        frozenset(i for i, p in enumerate(inputs) if str(p.annotation).startswith("Static")),
        {p.name: str(p.annotation).removesuffix(" | None") for p in own},
        tuple(p.name for p in own if p.default is Parameter.empty),
        tuple(p.name for p in keywords if p.name in FILLED_IN),
    )
