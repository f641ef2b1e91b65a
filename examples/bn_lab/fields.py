"""What a request may contain: a JSON object whose fields are checked one by one, against a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Refused(Exception):
    """A request that is not answered: the HTTP status, and why, in English and where it helps in Chinese."""

    def __init__(self, status: int, error: str, chinese: str = "") -> None:
        super().__init__(error)
        self.status, self.content = status, {"error": error, "zh": chinese or error}


class Field(NamedTuple):
    expected: str
    fits: Callable[[Any], bool]


def number(low: float, high: float) -> Field:
    def fits(value: Any) -> bool:
        return type(value) in (int, float) and low <= value <= high  # NaN is in no range

    return Field(f"a number from {low:g} to {high:g}", fits)


def several(one: Field, least: int, most: int) -> Field:
    def fits(value: Any) -> bool:
        return type(value) is list and least <= len(value) <= most and all(map(one.fits, value))

    return Field(f"a list of {least} to {most}, each {one.expected}", fits)


def text(most: int) -> Field:
    return Field(f"at most {most} characters", lambda v: type(v) is str and len(v) <= most)


def choice(*names: str) -> Field:
    return Field(f"one of {', '.join(names)}", lambda value: value in names)


def read(body: bytes, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The fields of a JSON object; ``Refused`` names the first that does not fit, and what is expected."""
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"expected JSON: {str(error)[:80]}") from None
    if not isinstance(found, dict) or found.keys() != fields.keys():
        raise Refused(400, f"expected an object with the fields {', '.join(fields) or '(none)'}")
    for name, field in fields.items():
        if not field.fits(found[name]):
            raise Refused(400, f"{name}: expected {field.expected}")
    return found
