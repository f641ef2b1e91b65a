"""The space of mistakes in batch norm by hand: small edits of the usual derivations.

A derivation is a table of lines like that of ``steps``. A mistake is an edit of a line's syntax tree: a term or factor
dropped or used twice, another sign, count, power, axis or value. So there is no list of mistakes, and each can be shown
as the line that it makes. Those that give equal numbers on a generic problem are one mistake, by the name of the
likeliest, and those that give the right numbers there are none.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import combinations
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .edits import compiled, edits, likely, text, together, unlikely
from .factors import TERMS, explain
from .steps import BACKWARD, FORWARD, RULES, Values

#: the running averages, and the output in test mode
RUNNING = {
    "running_mean": "momentum * old_mean + (1 - momentum) * mean",
    "running_var": "momentum * old_var + (1 - momentum) * var",
    "test": "gamma * (x - old_mean) / sqrt(old_var + eps) + beta",
}
STEPS = {name: rule.code for name, rule in RULES.items()} | RUNNING
#: lines that replace those of the steps: the paper's equations (section 3) as in cs231n, ...
PAPER = {
    "mean": "1 / m * sum(x)",
    "var": "variance(x)",
    "inv_std": "(var + eps) ** -0.5",
    "xhat": "(x - mean) / sqrt(var + eps)",
    "y": "gamma * xhat + beta",
    "ggamma": "total((x - mean) * (var + eps) ** -0.5 * gy)",
    "gvar": "sum(gxhat * (x - mean) * -0.5 * (var + eps) ** -1.5)",
    "gmean": "sum(gxhat * -1 / sqrt(var + eps)) + gvar * sum(-2 * (x - mean)) / n",
    "gx": "gxhat / sqrt(var + eps) + gvar * 2 * (x - mean) / n + gmean / m",
}
#: ... Kratzert's graph, in which the inverse is a step of its own, ...
GRAPH = {
    "mean": "1 / m * sum(x)",
    "var": "1 / n * sum((x - mean) ** 2)",
    "std": "sqrt(var + eps)",
    "xhat": "centered * inv_std",
    "ggamma": "total(gy * xhat)",
    "gstd": "-1 / std ** 2 * ginv_std",
    "gvar_eps": "0.5 / sqrt(var + eps) * gstd",
    "gvar": "gvar_eps",
    "gsquared": "spread(1 / n * gvar)",
    "gcentered": "gxhat * inv_std + 2 * centered * gsquared",
    "gmean": "-1 * sum(gcentered)",
    "gx": "gcentered + 1 / m * gmean",
}
#: ... and closed forms; those with gy take gamma out of the sums, which layer norm does not allow
CLOSED = (
    {
        "gmean": "-sum(gxhat) / std",
        "gx": "inv_std * (gxhat - average(gxhat) - xhat * average(gxhat * xhat) * m / n)",
    },
    {"gx": "inv_std / m * (m * gxhat - sum(gxhat) - xhat * sum(gxhat * xhat) * m / n)"},
    {"gx": "(gxhat - average(gxhat) - centered * sum(gxhat * centered) / n / var_eps) / std"},
    {"gx": "gamma * inv_std * (gy - average(gy) - xhat * average(gy * xhat) * m / n)"},
    {"gx": "gamma * inv_std / m * (m * gy - gbeta - xhat * ggamma * m / n)"},
    {
        "gx": "1 / m * gamma * (var + eps) ** -0.5 * (m * gy - sum(gy) - "
        "(x - mean) * (var + eps) ** -1.0 * sum(gy * (x - mean)) * m / n)",
    },
)
#: what some edits are called, and words in the names of mistakes, the likely ones first
KNOWN = {
    "var_eps for std": "missing square root", "var for var_eps": "eps left out", "missing term eps": "eps left out",
    "x for centered": "mean not subtracted", "missing term mean": "mean not subtracted",
    "missing term average(x)": "mean not subtracted", "missing term beta": "missing beta",
    "missing term x": "missing x", "missing term var": "missing var",
    "y for test": "batch statistics in test mode", "test for y": "running statistics in training",
    "missing (var + eps) ** -0.5": "missing inv_std", "swapped beta and gamma": "swapped gamma and beta",
}  # fmt: skip
LIKELY = (
    "missing term|missing beta|gbeta swapped",
    "eps left|eps out|mean not",
    "missing|sign|for mean|for sum|m - 1|D for m|power",
    r"axis|twice|for m|\d for",
    "",
)


class Arrays(Values):
    """``Values`` in NumPy, by other ``lines``, with the functions and counts that edits use."""

    def __init__(
        self,
        *given: Any,
        ddof: int = 0,
        shared: tuple[int, ...] | None = None,
        running: tuple[Any, Any, Any] = (np.nan, np.nan, np.nan),
    ) -> None:
        super().__init__(*given)
        #: ``shared``: the axes over which gamma's gradient is a sum, which are others in layer norm
        self.given, self.ddof, self.shared = given, ddof, self.axes if shared is None else shared
        self.running = self.momentum, self.old_mean, self.old_var = running
        self.n, (self.N, self.D, *image) = self.m - ddof, self.x.shape
        self.HW = math.prod(image)
        self.lines = {name: compiled(code) for name, code in RUNNING.items()}

    def __getattr__(self, name: str) -> Any:
        if name not in vars(self).get("lines", ()):
            return super().__getattr__(name)
        value = vars(self)[name] = self.compute(self.lines[name])
        return value

    def sum(self, t: Any, axes: tuple[int, ...] = ()) -> Any:
        return self.spread(t).sum(axes or self.axes, keepdims=True)

    def average(self, t: Any, axes: tuple[int, ...] = ()) -> Any:
        return self.spread(t).mean(axes or self.axes, keepdims=True)

    def variance(self, t: Any, axes: tuple[int, ...] = ()) -> Any:
        return self.spread(t).var(axes or self.axes, ddof=self.ddof, keepdims=True)

    def total(self, t: Any, axes: tuple[int, ...] = ()) -> Any:
        return self.sum(t, axes or self.shared)

    def sqrt(self, t: Any) -> Any:
        return np.sqrt(t)

    def spread(self, t: Any) -> Any:
        return t if np.shape(t) == self.x.shape else np.broadcast_to(t, self.x.shape)

    def by(self, lines: dict[str, CodeType], stale: Iterable[str] = STEPS, **more: Any) -> Arrays:
        """The same problem by other lines; values that are not ``stale`` are taken over."""
        other = Arrays.__new__(Arrays)
        vars(other).update(vars(self) | {"lines": lines} | more)
        for name in stale:
            vars(other).pop(name, None)
        return other

    def again(self, **other: Any) -> Arrays:
        """The same problem with other numbers."""
        given = dict(zip(("x", "gamma", "beta", "gy", "axes", "eps"), self.given, strict=True))
        options: dict[str, Any] = {"ddof": self.ddof, "shared": self.shared}
        options |= {"running": self.running} | other
        numbers = [options.pop(k, a) for k, a in given.items()]
        return Arrays(*numbers, **options)


class Mistake(NamedTuple):
    """What is wrong, the line with it and the right one, and the values, or the answer, that come of it."""

    name: str
    wrong: str
    right: str
    made: Callable[[Arrays], Any]

    def value(self, v: Arrays, name: str) -> Any:
        made = self.made(v)
        return getattr(made, name) if isinstance(made, Arrays) else made


class Layout(NamedTuple):
    """What a space of mistakes depends on, apart from the value that is asked for."""

    ndim: int
    axes: tuple[int, ...]
    shared: tuple[int, ...]
    ddof: int
    affine: bool

    def probe(self) -> Arrays:
        """A generic problem: no two counts are equal, no value is special."""
        rng = np.random.default_rng(3)
        shape = (7, 5, 3, 4, *[2] * self.ndim)[: self.ndim]
        wide = [1 if i in self.shared else n for i, n in enumerate(shape)]
        gamma, beta = rng.uniform(0.5, 2, wide), rng.normal(0.3, 1, wide)
        x, gy = rng.normal(0.7, 1.3, shape), rng.normal(0.2, 1, shape)
        given = x, gamma if self.affine else gamma**0, beta * self.affine, gy, self.axes, 0.07
        old = (x**2).mean(self.axes, keepdims=True)
        return Arrays(*given, ddof=self.ddof, shared=self.shared, running=(0.6, 0.3 - old, old))

    def others(self) -> Iterator[tuple[int, ...]]:
        """Axes that one may sum over in error."""
        for n in range(1, self.ndim + 1):
            yield from (a for a in combinations(range(self.ndim), n) if a != self.axes)

    def line(self, name: str) -> str:
        """The right line of the steps."""
        return written(name, Derivation({}, self).lines[name])

    def derivations(self) -> list[Derivation]:
        closed = CLOSED if self.shared == self.axes else CLOSED[:3]
        return [Derivation(f, self) for f in ({}, PAPER, GRAPH, *(GRAPH | form for form in closed))]


class Derivation:
    """Lines by name, in place of those of the steps, and what follows from what."""

    def __init__(self, lines: dict[str, str], layout: Layout) -> None:
        self.lines, self.layout = STEPS | lines, layout
        for name, code in self.lines.items() if not layout.ddof else ():  # n is m
            self.lines[name] = code.replace(" * m / n", "").replace("/ n", "/ m")
        self.code = {name: compiled(code) for name, code in self.lines.items()}
        self.needs: dict[str, set[str]] = {}
        self.followers: dict[str, list[str]] = {}

    def find(self, name: str) -> set[str]:
        """The lines that a value is computed by, its own included."""
        if name in self.lines and name not in self.needs:
            self.needs[name] = {name}.union(*map(self.find, self.code[name].co_names))
        return self.needs.get(name, set())

    def mistakes(self, name: str, kind: Any) -> Iterator[tuple[str, Mistake]]:
        """Edits of the lines that a value is computed by, each with its line."""
        for line in (n for n in self.lines if n in self.find(name)):
            right = self.lines[line]
            found = edits(ast.parse(right, mode="eval").body, kind)
            for what, tree in (*found, *(together(right) if kind is likely else ())):
                code = text(tree)
                used = compiled(code).co_names
                if any(line in self.find(n) for n in used):
                    continue
                for axes in self.layout.others() if "other" in used else [()]:
                    shown = written(line, code.replace("other", str(axes))), written(line, right)
                    made = partial(self.wrong, line, compiled(code), axes)
                    yield line, Mistake(KNOWN.get(what, what), *shown, made)

    def wrong(self, line: str, code: CodeType, other: tuple[int, ...], v: Arrays) -> Arrays:
        """The values with other code for a line, which may sum over other axes."""
        right = vars(v).setdefault("derived", {})
        if self not in right:
            right[self] = v.by(self.code)
        stale = self.followers.get(line) or [n for n in self.lines if line in self.find(n)]
        self.followers[line] = stale
        made: Arrays = right[self].by(self.code | {line: code}, stale, other=other)
        return made


def is_likely(name: str) -> bool:
    """Whether it is more than some value for another."""
    return bool(re.search("|".join(LIKELY[:-1]), name))


@cache
def space(name: str, layout: Layout) -> tuple[Mistake, ...]:
    """All mistakes that show in the value ``name``, the likely ones first."""
    lines, forward = [*STEPS, ""], (*FORWARD, "inv_std", "")
    found = [e for d in layout.derivations() for e in d.mistakes(name, likely)]

    def rank(entry: tuple[str, Mistake]) -> tuple[bool, int, int]:
        line, mistake = entry
        words = next(i for i, words in enumerate(LIKELY) if re.search(words, mistake.name))
        # a sign is lost in the line that is asked for, if it may be that one
        first = -1 if line == name and mistake.name == "wrong sign" else lines.index(line)
        return name not in forward and line in forward, words, first

    found += ((name if "swapped" in m.name else "", m) for m in whole(name, layout))
    found.sort(key=rank)
    probe = layout.probe()
    right = getattr(probe, name)
    distinct = {_print(right): Mistake("", "", "", lambda v: v)}
    with np.errstate(all="ignore"):
        for _, mistake in found:
            value = np.asarray(mistake.value(probe, name))
            if (key := _print(value)) not in distinct and np.isfinite(value).all():
                if mistake.name.startswith("missing term") and value.shape == right.shape:
                    words = explain(name, value, terms(name, probe), probe, 1e-12)
                    mistake = mistake._replace(name=words or mistake.name.replace("term ", ""))
                distinct[key] = mistake
    return tuple(distinct.values())[1:]


@cache
def wide_space(name: str, layout: Layout) -> tuple[Mistake, ...]:
    """Any value for any other in a line, not compared with each other."""
    found = (m for d in layout.derivations() for _, m in d.mistakes(name, unlikely))
    return tuple({m.wrong: m for m in found}.values())


def terms(name: str, v: Arrays) -> list[Any]:
    """The values that add up to the value ``name``."""
    return [v.compute(compiled(code)) for code in TERMS.get(name, {name: name}).values()]


def _print(value: Any) -> tuple[Any, str]:
    """What is the same for equal values."""
    shape = tuple(n for n in value.shape if n != 1)
    return shape, f"{float(value.ravel() @ np.cos(np.arange(value.size) ** 2 + 1.0)):.9e}"


def written(line: str, code: str) -> str:
    """A line as a student would write it."""
    code = re.sub(r"^spread\((.*)\)$|, shared\b", r"\1", code).replace("total(", "sum(")
    code = re.sub(r"\bn\b", "(m - 1)", code)
    return f"{line} = {code}"


def whole(name: str, layout: Layout) -> Iterator[Mistake]:
    """Mistakes that are not made in one line: in the variance, the counts, the axes, an image's layout, the name."""
    biased, other = ("m", "m - 1")[:: -1 if layout.ddof else 1]
    right = f"var by {biased}; or is ddof={1 - layout.ddof} meant?"
    yield Mistake(
        f"{other} for {biased}", f"var by {other}", right, lambda v: v.again(ddof=1 - v.ddof)
    )
    outside = {"var_eps": "var", "std": "sqrt(var) + eps", "gvar_eps": "gstd / (2 * sqrt(var))"}
    made = partial(Arrays.by, lines=Derivation(outside, layout).code)
    yield Mistake(
        "eps outside the square root", "std = sqrt(var) + eps", "std = sqrt(var + eps)", made
    )
    counted = Derivation({"mean": "sum(x) / m"}, layout).code
    for n in ("N", "D"):
        for stale in (BACKWARD, STEPS):  # in the backward pass, or everywhere
            made = partial(_recounted, counted, list(stale), n)
            yield Mistake(f"{n} for m", f"m = {n}", "m values per channel", made)
    for axes in layout.others():
        wrong, right = f"sums and means over axes {axes}", f"over axes {layout.axes}"
        yield Mistake("wrong axis", wrong, right, partial(Arrays.again, axes=axes, shared=axes))
    if layout.axes == (0, *range(2, layout.ndim)) != (0,):
        what, there = "reshape without transpose", "x.transpose(0, 2, 3, 1).reshape(-1, C)"
        yield Mistake(what, "x.reshape(-1, C)", there, partial(_unturned, name))
        back = "reshape(N, H, W, C).transpose(0, 3, 1, 2)"
        yield Mistake(
            what,
            "reshape(N, C, H, W)",
            back,
            lambda v: np.moveaxis(v[name], 1, -1).reshape(v[name].shape),
        )
    if name.startswith("running"):
        what, right = "momentum and 1 - momentum swapped", RUNNING[name]
        wrong = right.replace("(1 - momentum)", "@").replace("momentum", "(1 - momentum)")
        shown = written(name, wrong.replace("@", "momentum")), written(name, right)
        yield Mistake(what, *shown, lambda v: v.by(v.lines, momentum=1 - v.momentum))
    yield Mistake("transposed", f"{name}.T", name, lambda v: v[name].T)
    for value in ("gy", *STEPS):
        what = f"{value} for {name}"
        what = "ggamma and gbeta swapped" if {name, value} == {"ggamma", "gbeta"} else what
        shown = f"{name} = {value}", layout.line(name)
        yield Mistake(KNOWN.get(what, what), *shown, operator.itemgetter(value))


def _recounted(lines: dict[str, CodeType], stale: Iterable[str], n: str, v: Arrays) -> Arrays:
    assert v["y"] is not None  # the forward pass is computed before
    return v.by(lines, stale, m=v[n], n=v[n])


def _unturned(name: str, v: Arrays) -> Any:
    """The value if channels are taken from the last axis of rows that are no pixels."""
    rows = {k: v[k].reshape(-1, v.D) for k in ("x", "gy", "gamma", "beta")}
    value = v.again(**rows, axes=(0,), shared=(0,))[name]
    return value.reshape(v.x.shape) if value.size == v.x.size else value
