"""Edits of a formula's syntax tree, as small as the mistakes that people make, each with the mistake's name.

A formula is code in the names of ``steps``. ``other`` in an edited one stands for the axes of a sum over wrong axes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations
from types import CodeType
from typing import Any

FULL = ("x", "centered", "squared", "xhat", "scaled", "y", "gy", "gxhat")
CHANNEL = ("mean", "var", "var_eps", "std", "inv_std", "gamma", "beta")
OLD = ("old_mean", "old_var")
OTHER = ("m", "eps", "gbeta", "ggamma", "gcentered", "gvar", "gsquared", "gmean", "momentum", *OLD)
Edits = Iterator[tuple[str, Any]]


@cache
def compiled(code: str) -> CodeType:
    return compile(code, "<line>", "eval")


def text(node: ast.expr) -> str:
    return re.sub(r"\*\* \((-[\d.]+)\)", r"** \1", ast.unparse(node))


def edits(node: Any, here: Callable[[Any, bool], Edits], under: bool = False) -> Edits:
    """What is wrong, and the tree, for all that differ from ``node`` in one place; ``under``: in a denominator."""
    yield from here(node, under)
    for field, child in ast.iter_fields(node):
        if field == "args":
            for name, new in edits(child[0], here, under):
                yield name, ast.Call(node.func, [new], [])
        elif field in ("left", "right", "operand") and (field, type(node.op)) != ("right", ast.Pow):
            below = under != ((field, type(node.op)) == ("right", ast.Div))
            for name, new in edits(child, here, below):
                yield name, type(node)(**dict(ast.iter_fields(node)) | {field: new})


def _op(a: Any, sign: str, b: Any) -> Any:
    signs = {"+": ast.Add(), "-": ast.Sub(), "*": ast.Mult(), "/": ast.Div(), "**": ast.Pow()}
    return ast.BinOp(a, signs[sign], b)


def _call(function: str, *args: Any) -> Any:
    return ast.Call(ast.Name(function), list(args), [])


def likely(node: Any, under: bool) -> Edits:
    """The mistakes that people make in an operation."""
    match node:
        case ast.BinOp(a, ast.Add() | ast.Sub() as op, b):
            minus = isinstance(op, ast.Sub)
            yield f"missing term {text(b)}", a
            yield f"missing term {text(a)}", ast.UnaryOp(ast.USub(), b) if minus else b
            yield "wrong sign", _op(a, "+" if minus else "-", b)
            yield "wrong sign", _op(b, "-", a)
            if minus:
                yield f"{text(b)} for {text(node)}", b
            yield f"{text(b)} as a factor", _op(a, "*", b)
            yield f"{text(b)} as a divisor", _op(a, "/", b)
        case ast.BinOp(a, ast.Mult() | ast.Div() as op, b):
            divided = isinstance(op, ast.Div)
            yield _missing(b, under != divided), a
            yield _missing(a, under), _op(ast.Constant(1), "/", b) if divided else b
            yield f"{_inverse(b) if divided else text(b)} twice", ast.BinOp(node, op, b)
            yield f"{text(a)} twice", _op(node, "*", a)
            yield _power(b), _op(a, "*" if divided else "/", b)
            yield _power(a), _op(b, "/", a)
            yield from ((f"{sign} for a product", _op(a, sign, b)) for sign in "+-")
        case ast.BinOp(a, ast.Pow(), b):
            yield from ((f"{sign} for a power", _op(a, sign, b)) for sign in "+-*/")
            for power in (-3, -2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2, 3):
                yield f"wrong power of {text(a)}", _op(a, "**", ast.Constant(power))
        case ast.UnaryOp(_, a):
            yield "wrong sign", a
        case ast.Call(ast.Name("sqrt"), [a]):
            yield "missing square root", a
            if isinstance(a, ast.BinOp):
                moved = ast.BinOp(_call("sqrt", a.left), a.op, a.right)
                yield f"{text(a.right)} outside the square root", moved
        case ast.Call(ast.Name("variance"), [a]):
            yield "wrong axis", _call("variance", a, ast.Name("other"))
        case ast.Call(ast.Name("average" | "sum" | "total" as name), [a]):
            yield from _of_sums(node, name, a)
        case _:
            yield from _leaf(node)


def _leaf(node: Any) -> Edits:
    match node:
        case ast.Constant(value):
            yield from (
                (f"{c:g} for {value!r}", ast.Constant(c)) for c in (-1, 0.5, 1, 1.5, 2, 3, 4)
            )
        case ast.Name("m" | "n" as name):
            right = "m" if name == "m" else "m - 1"
            for count in ("m - 1", "m", "N", "D", "HW", "1"):
                yield f"{count} for {right}", ast.parse(count, mode="eval").body
        case ast.Name(name):
            kinds = {FULL: FULL, CHANNEL: CHANNEL, OLD: (*OLD, *CHANNEL)}
            kind = next((others for names, others in kinds.items() if name in names), ())
            yield from ((f"{other} for {name}", ast.Name(other)) for other in kind)


def _of_sums(node: Any, name: str, a: Any) -> Edits:
    shared = [ast.Name("shared")] if name == "total" else []  # its axes
    if name == "average":
        yield "sum for mean", _call("sum", a)
    else:
        yield "mean for sum", _call("average", a, *shared)
    variance = _call("variance", a, *shared)
    yield f"variance for {name}", variance
    yield f"standard deviation for {name}", _call("sqrt", variance)
    yield "missing sum", a
    yield "1/m twice", _op(node, "/", ast.Name("m"))
    yield "m for 1/m", _op(_call("sum", a), "*", ast.Name("m"))
    yield from ((f"factor {f:g}", _op(ast.Constant(f), "*", node)) for f in (0.5, 2, 3))
    mean, total = (_call(name, a, ast.Name("other")) for name in ("average", "sum"))
    yield from (("wrong axis", new) for new in (mean, total, _op(ast.Name("m"), "*", mean)))


def unlikely(node: ast.expr, under: bool) -> Edits:
    """Any value for any other."""
    yield "wrong sign", ast.UnaryOp(ast.USub(), node)
    if isinstance(node, (ast.Name, ast.Call)):
        for other in (*FULL, *CHANNEL, *OTHER):
            yield f"{other} for {text(node)}", ast.Name(other)


def together(code: str) -> Edits:
    """Edits in several places of a line: two values swapped, and all sums over other axes."""
    for a, b in combinations(dict.fromkeys(compiled(code).co_names), 2):
        if {a, b} <= set(FULL) or {a, b} <= set(CHANNEL):
            tree = ast.parse(code, mode="eval").body
            for n in ast.walk(tree):
                if isinstance(n, ast.Name):
                    n.id = {a: b, b: a}.get(n.id, n.id)
            yield f"swapped {a} and {b}", tree
    tree = ast.parse(code, mode="eval").body
    for n in ast.walk(tree):
        if isinstance(n, ast.Call) and text(n.func) in ("sum", "average", "total"):
            n.args.append(ast.Name("other"))
    yield "wrong axis", tree


def _inverse(node: ast.expr) -> str:
    known = {"std": "inv_std", "sqrt(var + eps)": "inv_std", "n": "1/m"}
    return known.get(text(node), f"1/{text(node)}")


def _missing(node: ast.expr, under: bool) -> str:
    words = (_inverse(node) if under else text(node)).replace("1 / m", "1/m")
    return f"missing {words}" if re.search("[a-z]", words) else f"missing factor {words}"


def _power(node: ast.expr) -> str:
    return "m for 1/m" if text(node) in ("m", "n") else f"wrong power of {text(node)}"
