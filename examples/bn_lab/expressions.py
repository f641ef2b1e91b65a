"""A student's expression for a gradient: parsed, checked against a list of what is allowed, computed step by step.

Nothing is evaluated as Python: the tree may contain names of this channel's values, numbers, + - * / **, and the
functions sum, mean and sqrt, and all else is refused. Sums and means run over the points and keep their axis.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

import minigrad as mg
from examples.bn_lab.channel import Numbers
from examples.bn_lab.fields import Refused
from minigrad.study.steps import BACKWARD, FORWARD, problem

LENGTH, DEPTH, POWER = 300, 40, 8
OPERATORS = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
    ast.Pow: np.power, ast.USub: np.negative, ast.UAdd: np.positive,
}  # fmt: skip
FUNCTIONS = {
    "sum": lambda a: np.sum(np.atleast_1d(a), 0, keepdims=True),
    "mean": lambda a: np.mean(np.atleast_1d(a), 0, keepdims=True),
    "sqrt": np.sqrt,
}
FUNCTIONS["average"] = FUNCTIONS["mean"]  # as the verdicts call it
SIGNS = str.maketrans("\u2212\xb7\xd7", "-**")  # as the page writes them
ALLOWED = "Allowed are names, numbers, + - * / **, brackets, and sum, mean, sqrt."
ALLOWED_ZH = "允许：名称、数字、+ - * / **、圆括号，以及 sum、mean、sqrt。"
#: gradients that can be asked for
ASKED = ("gx", "ggamma", "gbeta", "gxhat", "gvar", "gmean")


def refuse(english: str, chinese: str) -> Refused:
    return Refused(422, f"{english} {ALLOWED}", f"{chinese}{ALLOWED_ZH}")


def known(name: str) -> tuple[str, ...]:
    """What the gradient called ``name`` may be expressed by: all values, and gradients that come before it."""
    gradients = list(BACKWARD)[: list(BACKWARD).index(name)]
    return ("x", "gamma", "beta", "eps", "m", *FORWARD, "inv_std", "gy", *gradients)


def evaluate(text: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression; ``Refused`` says what is not allowed in it, and what is."""
    if len(text) > LENGTH:
        raise refuse(f"At most {LENGTH} characters.", f"最多 {LENGTH} 个字符。")
    text = " ".join(text.translate(SIGNS).split())
    if found := re.search(r"[^\w\s.,+\-*/()]", text, re.ASCII):
        power = " A power is **." if found[0] == "^" else ""
        raise refuse(f"{found[0]} is not allowed.{power}", f"不允许使用 {found[0]}。")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError, Warning):
        raise refuse("This is not a complete expression.", "表达式不完整。") from None
    with np.errstate(all="ignore"):
        return np.asarray(walk(tree, names, text), dtype=float)


def walk(node: ast.AST, names: Mapping[str, Any], text: str, depth: int = 0) -> Any:
    if depth > DEPTH:
        raise refuse("Too many brackets within brackets.", "括号嵌套太深。")

    def inner(child: ast.AST) -> Any:
        return walk(child, names, text, depth + 1)

    match node:
        case ast.Constant(value=value) if type(value) in (int, float) and np.isfinite(float(value)):
            return np.float64(value)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Name(id=name):
            known = ", ".join(names)
            raise refuse(f"There is no {name}. Names: {known}.", f"没有 {name}。名称：{known}。")
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return OPERATORS[type(op)](inner(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            a, b = inner(left), inner(right)
            if isinstance(op, ast.Pow) and not (np.ndim(b) == 0 and abs(b) <= POWER):
                english = f"Exponents are numbers up to {POWER}."
                raise refuse(english, f"指数必须是不超过 {POWER} 的数。")
            return OPERATORS[type(op)](a, b)
        case (
            ast.Call(func=ast.Name(id=name), args=[of], keywords=[])
            | ast.Call(func=ast.Attribute(value=of, attr=name), args=[], keywords=[])
        ) if name in FUNCTIONS:
            return FUNCTIONS[name](inner(of))
        case ast.Call():
            english = "A function is called as sum(a) or a.sum(), without an axis: it runs over the points."
            raise refuse(english, "函数写作 sum(a) 或 a.sum()，不写 axis：它遍历所有点。")
    part = text[node.col_offset : node.end_col_offset]
    raise refuse(f"{part} is not allowed.", f"不允许使用 {part}。")


def judge(
    name: str, expression: str, x: Numbers, gy: Numbers, gamma: float, beta: float, eps: float
) -> dict[str, Any]:
    """The verdict of ``study.check_step`` on an expression for the gradient called ``name``."""
    # on this channel, with 5 points at least, and three more: few points, or a gamma of 1, hide mistakes
    xs, gys = np.random.default_rng(len(x)).normal(1, 2, (2, 4, max(5, len(x))))
    xs[0, : len(x)], gys[0, : len(x)] = x, gy
    rows = xs, [gamma, 1.7, 0.6, -1.3], [beta, -0.6, 0.3, 1], gys
    given = [mg.tensor(np.array(row, dtype=float).T) for row in rows]
    v = problem("bn_lab", *given, axis=1, eps=eps)
    names = {n: np.asarray(v[n] if n in ("eps", "m") else v[n].numpy()) for n in known(name)}
    right = v[name].numpy()
    try:
        mine = evaluate(expression, names)
        if mine.size > right.size:
            english = f"{name} is one number, and this is one for each point: is a sum missing?"
            raise Refused(422, english, f"{name} 是一个数，而这里每个点各有一个值：是否少了求和？")
    except Refused as refused:  # as one types: no error of the request
        return {"verdict": "refused", "sentence": str(refused), "zh": refused.content["zh"]}
    verdict = mg.study.check_step(name, np.broadcast_to(mine, right.shape), *given, axis=1, eps=eps)
    answer, right = verdict.verdict, verdict.sentence.partition("Right is: ")[2]
    wrong = f"有误，最大偏差 {verdict.difference:.2g}。可能的错误：{verdict.mistake or '未知'}。正确的是：{right}"
    zh = f"{name} {'正确。' if answer != 'wrong' else wrong}"
    return {"verdict": answer, "sentence": verdict.sentence, "mistake": verdict.mistake, "zh": zh}
