"""What an answer is made of: the factor that it has at each of the right answer's terms.

gx is a sum of three paths. An answer that is a sum of multiples of them is explained by their factors, in whatever form
it was derived: 0 is a missing path, m a missing 1/m, 1 / gamma a missing gamma.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np

#: the terms of values that are sums
TERMS = {
    "gx": {"direct": "gxhat / std", "mean": "gmean / m", "variance": "gvar * 2 * centered / n"},
    "gcentered": {"direct": "gxhat / std", "variance": "gvar * 2 * centered / n"},
    "y": {"scale": "scaled", "shift": "beta"},
    "centered": {"x": "x", "mean": "mean"},
}
#: what the exponents of each unit mean: -1, 2, m, m / (m - 1), gamma, std, D
UNITS: tuple[dict[int, str], ...] = (
    {1: "wrong sign"},
    {-2: "factor 1/4", -1: "factor 1/2", 1: "factor 2", 2: "factor 4"},
    {-1: "1/m twice", 1: "missing 1/m"},
    {-1: "m for m - 1", 1: "m - 1 for m"},
    {-1: "missing gamma", 1: "gamma twice"},
    {-2: "missing std^2", -1: "inv_std twice", 1: "missing inv_std", 2: "missing inv_std^2"},
    {-1: "factor 1/D", 1: "factor D"},
)


@cache
def _exponents() -> np.ndarray:
    """Up to three units, the simplest first; m - 1 and D, but in place of m, are less likely than the others."""

    def cost(e: tuple[int, ...]) -> float:
        return sum(map(abs, e)) + abs(e[3]) + abs(e[-1]) * (0.1 if e[2] == -e[-1] else 1.5)

    rows = (e for e in product(*((0, *unit) for unit in UNITS)) if sum(map(bool, e)) <= 3)
    return np.array(sorted(rows, key=cost), float)


def fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether shapes are equal but for axes of length 1."""
    return [n for n in a if n != 1] == [n for n in b if n != 1]


def explain(name: str, answer: Any, terms: Sequence[Any], v: Any, tolerance: float) -> str | None:
    """The mistakes by which ``answer`` is a sum of multiples of ``terms``; "" if none, None if it is no such sum."""
    shape = np.broadcast_shapes(*map(np.shape, terms))
    if not fits(answer.shape, shape):
        return None
    answer, full = answer.reshape(shape), shape == v.x.shape
    last = range(-len(v.axes), 0)
    wide = (np.moveaxis(np.broadcast_to(t, answer.shape), v.axes, last) for t in (*terms, answer))
    table = np.stack([c.reshape(answer.size // (v.m if full else 1), -1) for c in wide], -1)
    size = np.sqrt((table**2).mean(1, keepdims=True))
    if len(terms) > max(1, table.shape[1] - 2) or not (np.isfinite(table).all() and size.all()):
        return None
    basis, right = np.split(table / size, [-1], -1)
    factors = np.linalg.pinv(basis) @ right
    if abs(basis @ factors - right).max() > 10 * tolerance:
        return None
    factors = (factors[..., 0] * size[:, 0, -1:] / size[:, 0, :-1]).T
    tolerance = max(100 * tolerance, 1e-9)
    words = [_word(f, v, tolerance) for f in factors]
    if "wrong factor" in words and not full:  # one number to a channel is a multiple of any other
        return None
    parts: dict[str, list[str]] = {}
    for part, word in zip(TERMS.get(name, [name]), words, strict=True):
        parts.setdefault(word, []).append(part)
    if len(parts) == 1 and np.allclose(factors, factors[0], tolerance):
        return words[0]
    where = {
        w: " and ".join(p) + (" path" + "s" * (len(p) > 1)) * ("direct" in TERMS[name])
        for w, p in parts.items()
    }
    return ", ".join(
        f"missing {p}" if w == "missing" else f"{w} ({p})" for w, p in where.items() if w
    )


def _word(factor: Any, v: Any, tolerance: float) -> str:
    """What a factor, a number per channel, means."""
    if (abs(factor) <= tolerance).all():
        return "missing"
    numbers = -1, 2, v.m, v.m / (v.m - 1), v.gamma, v.std, v.x.size / v.m
    units = np.stack([np.resize(n, factor.size) for n in numbers])
    fits = abs(np.prod(units ** _exponents()[..., None], 1) - factor) <= tolerance * abs(factor)
    if (fits := fits.all(1)).any():
        exponents = _exponents()[fits.argmax()]
        words = ", ".join(unit[int(e)] for unit, e in zip(UNITS, exponents, strict=True) if e)
        return words.replace("missing 1/m, factor 1/D", "D for m")
    number = factor[0]
    constant = factor.size > 1 and np.ptp(factor) <= tolerance * abs(number)
    return f"wrong factor {number:.6g}" if constant else "wrong factor"
