"""Mistakes are named: those that people make, and random edits of right functions' syntax trees, which numbers judge.

On NumPy alone, for time: test_lesson runs on every backend.
"""

from __future__ import annotations

import ast
import random
import re

import numpy as np
import pytest

import minigrad as mg

EPS = 1e-3
SHAPES = (7, 3), (6, 4), (5, 8), (9, 5), (12, 2)
STATISTICS = """
m = len(x)
mu = x.mean(axis=0)
xmu = x - mu
var = np.mean(xmu ** 2, axis=0)
std = np.sqrt(var + eps)
ivar = 1 / std
xhat = xmu * ivar
"""
SUMS = """
dbeta = np.sum(dout, axis=0)
dgamma = np.sum(dout * xhat, axis=0)
"""
#: outputs | derivation
RIGHT = {
    "y": """
mu = 1 / m * np.sum(x, axis=0)
xmu = x - mu
var = 1 / m * np.sum(xmu ** 2, axis=0)
y = gamma * (xmu / np.sqrt(var + eps)) + beta
""",
    "dbeta dgamma dx of cs231n": f"""{SUMS}
dxhat = dout * gamma
dvar = np.sum(dxhat * (x - mu) * -0.5 * (var + eps) ** -1.5, axis=0)
dmu = np.sum(dxhat * -1 / np.sqrt(var + eps), axis=0) + dvar * np.sum(-2 * (x - mu), axis=0) / m
dx = dxhat / np.sqrt(var + eps) + dvar * 2 * (x - mu) / m + dmu / m
""",
    "dbeta dgamma dx of a graph": f"""{SUMS}
dxhat = dout * gamma
divar = np.sum(dxhat * xmu, axis=0)
dstd = -1 / std ** 2 * divar
dvar = 0.5 / std * dstd
dxmu = dxhat * ivar + 2 * xmu * (1 / m * np.ones(x.shape) * dvar)
dmu = -1 * np.sum(dxmu, axis=0)
dx = dxmu + 1 / m * np.ones(x.shape) * dmu
""",
    "dbeta dgamma dx of backward_alt": """
dbeta = np.sum(dout, axis=0)
dgamma = np.sum((x - mu) * (var + eps) ** -0.5 * dout, axis=0)
dx = 1 / m * gamma * (var + eps) ** -0.5 * (
    m * dout - np.sum(dout, axis=0) - (x - mu) * (var + eps) ** -1.0 * np.sum(dout * (x - mu), axis=0))
""",
    "dbeta dgamma dx of makemore": f"""{SUMS}
dx = gamma * ivar / m * (m * dout - np.sum(dout, axis=0) - xhat * np.sum(dout * xhat, axis=0))
""",
}


def problem(shape):
    rng = np.random.default_rng(shape[0])
    x, gy = rng.normal(1, 2, shape), rng.normal(0.2, 1, shape)
    return x, rng.uniform(0.5, 2, shape[1]), rng.standard_normal(shape[1]), gy


def run(code, numbers):
    values = {"np": np, "eps": EPS} | dict(
        zip(("x", "gamma", "beta", "dout"), numbers, strict=True)
    )
    with np.errstate(all="ignore"):
        exec(STATISTICS + code, values)
    return values


def check(name, mine, numbers, **options):
    return mg.study.check_step(name, np.asarray(mine), *numbers, **options)


def places(node, parent=None, field=None):
    """Every expression in a line, and where it is."""
    if isinstance(node, ast.expr) and not isinstance(node, (ast.Attribute, ast.Tuple)):
        yield node, parent, field
    for name, child in ast.iter_fields(node):
        if isinstance(child, ast.expr) and name != "func":
            yield from places(child, node, (name, None))
        for i, item in enumerate(child if name == "args" else ()):
            yield from places(item, node, (name, i))


def edits(node, names):
    """What may be in an expression's place."""
    kinds = (
        {"x", "xmu", "xhat", "dout", "dxhat"} & names,
        {"mu", "var", "std", "ivar", "gamma", "beta"} & names,
    )
    match node:
        case ast.BinOp(a, op, b):
            yield from (a, b, ast.BinOp(b, op, a), ast.UnaryOp(ast.USub(), node))
            yield from (ast.BinOp(a, o(), b) for o in (ast.Add, ast.Sub, ast.Mult, ast.Div))
        case ast.Call(ast.Attribute(_, "sum"), [a]):
            yield from (a, ast.UnaryOp(ast.USub(), node))
            yield ast.Call(ast.Name("np.mean"), [a], node.keywords)
            yield ast.Call(
                node.func, [a], ast.parse("f(axis=1, keepdims=True)").body[0].value.keywords
            )
        case ast.UnaryOp(_, a):
            yield a
        case ast.Constant(c):
            yield from map(ast.Constant, {0.5, 1, 2, 3} - {c, 0})
        case ast.Name("m"):
            yield from (ast.Name("(m - 1)"), ast.Name("x.shape[1]"), ast.Constant(1))
        case ast.Name(name):
            yield from (
                ast.Name(n) for kind in kinds if name in kind for n in sorted(kind - {name})
            )


def edited(code, choose):
    """The code with a random edit, and what it is."""
    tree = ast.parse(code)
    line = choose.choice(tree.body)
    names = {"x", "gamma", "beta", "dout"} | {
        s.targets[0].id for s in tree.body if s.lineno < line.lineno
    }
    names |= {"mu", "xmu", "var", "std", "ivar", "xhat"} if "dbeta" in code else set()
    node, parent, (field, i) = choose.choice(
        [p for p in places(line.value, line, ("value", None)) if p[2]]
    )
    new = choose.choice([*edits(node, names), node])
    if i is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[i] = new
    return ast.unparse(tree), f"{ast.unparse(line)}"


def random_answers(count, seed, number=1):
    """name | what was edited | answers on all problems | whether they are right"""
    choose = random.Random(seed)
    problems = [problem(shape) for shape in SHAPES]
    while count > 0:
        outputs, code = choose.choice(list(RIGHT.items()))
        wrong, what = edited(code, choose)
        for _ in range(number - 1):
            wrong, more = edited(wrong, choose)
            what += f" & {more}"
        try:
            made = [run(wrong, numbers) for numbers in problems]
        except (ValueError, NameError):
            continue
        for name in outputs.split(" of ")[0].split():
            mine, right = (
                [np.asarray(v[name]) for v in run]
                for run in (made, [run(code, n) for n in problems])
            )
            if all(np.isfinite(a).all() for a in mine):
                equal = all(
                    a.shape == b.shape and np.allclose(a, b, rtol=1e-9)
                    for a, b in zip(mine, right, strict=True)
                )
                count -= not equal
                yield name, what, list(zip(mine, problems, strict=True)), equal


def test_random_edits_are_named_and_none_misnamed():
    """One name on every shape: no two mistakes give equal numbers on all of them."""
    unnamed, wrong = [], 0
    for name, what, answers, right in random_answers(30, seed=0):
        verdicts = [check(name, *a) for a in answers[: 5 if right or wrong % 5 == 0 else 1]]
        assert {v.verdict for v in verdicts} == {"exact" if right else "wrong"}, what
        assert len({re.sub("factor.*", "", v.mistake or "") for v in verdicts}) == 1, (
            what,
            verdicts,
        )
        wrong += not right
        unnamed += [what] * (not right and verdicts[0].mistake is None)
    assert len(unnamed) <= 1, unnamed


def test_pairs_of_random_edits_are_named():
    answers = [(name, a) for name, _, a, right in random_answers(8, seed=4, number=2) if not right]
    assert sum(check(name, *a[0]).mistake is None for name, a in answers) <= 1


#: name | mistake | expression
PLANTED = """
mean | sum for mean | x.sum(axis=0)
centered | wrong sign | -xmu
xhat | eps outside the square root | xmu / (np.sqrt(var) + eps)
xhat | mean not subtracted | x * ivar
xhat | wrong axis | (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)
inv_std | missing square root | 1 / (var + eps)
y | swapped gamma and beta | beta * xhat + gamma
y | missing beta | gamma * xhat
y | m - 1 for m | gamma * xmu / np.sqrt(x.var(0, ddof=1) + eps) + beta
dbeta | mean for sum | dout.mean(0)
dgamma | ggamma and gbeta swapped | dout.sum(0)
dgamma | eps left out | (dout * xmu / np.sqrt(var)).sum(0)
dxhat | transposed | (dout * gamma).T
dvar | missing inv_std | -0.5 * (dout * gamma * xmu).sum(0) / std ** 2
dvar | wrong sign | 0.5 * (dout * gamma * xmu).sum(0) / std ** 3
dstd | missing inv_std | -1 / std * (dout * gamma * xmu).sum(0)
dsq | missing 1/m | np.ones(x.shape) * dvar
dmu | missing gamma | -(dout * ivar).sum(0)
dx | missing mean path | dx + gamma * ivar * dout.mean(0)
dx | missing variance path | gamma * ivar * (dout - dout.mean(0))
dx | missing mean and variance paths | gamma * ivar * dout
dx | missing factor 2 | gamma * ivar * (dout - dout.mean(0) - xhat * (dout * xhat).mean(0) / 2)
dx | missing gamma | dx / gamma
dx | gamma twice | dx * gamma
dx | missing inv_std | dx / ivar
dx | missing square root | dx * ivar
dx | missing 1/m | dx * m
dx | 1/m twice | dx / m
dx | D for m | gamma * ivar / 3 * (3 * dout - dbeta - xhat * dgamma)
dx | wrong sign | -dx
dx | transposed | dx.T
dx | missing 1/m (mean and variance paths) | gamma * ivar * (dout - dbeta - xhat * dgamma)
dx | missing gamma (direct and variance paths), missing mean path | ivar * (dout - xhat * dgamma / m)
dx | wrong factor 1.001 | 1.001 * dx
dx | wrong factor (variance path) | gamma * ivar * (dout - dout.mean(0) + xhat * [1, 2, 4])
dmu | wrong sign | (dout * gamma * ivar).sum(0)
dx | zero | 0 * dx
dx | gy for gx | dout
dx | not finite | dx + np.nan
"""


@pytest.mark.parametrize(
    ("name", "mistake", "code"), [row.split(" | ") for row in PLANTED.strip().splitlines()]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_planted_mistakes_are_named(name, mistake, code, dtype):
    numbers = problem(SHAPES[0])
    mine = eval(code, run(RIGHT["dbeta dgamma dx of cs231n"], numbers))
    verdict = check(name, mine.astype(dtype), numbers)
    assert (verdict.verdict, verdict.mistake) == ("wrong", mistake), str(verdict)
    assert f"Likely mistake: {mistake}" in str(verdict) or mistake == "not finite"


def test_the_first_wrong_line_is_named():
    """Not a later one, in which it shows as well."""
    numbers = problem(SHAPES[0])
    wrong = RIGHT["dbeta dgamma dx of a graph"].replace("std ** 2", "std")
    for name in ("dstd", "dvar", "dx"):
        assert "missing inv_std, gstd = " in str(check(name, run(wrong, numbers)[name], numbers))


def test_factors_that_are_several_things_have_the_likelier_name():
    """1/4 is 1/D as well."""
    numbers = problem(SHAPES[1])
    dx = run(RIGHT["dbeta dgamma dx of cs231n"], numbers)["dx"]
    assert check("dx", dx / 4, numbers).mistake == "factor 1/4"
