"""The table of a Tensor's methods: each row has its code, with the same parameters."""

from __future__ import annotations

import ast
import inspect

import pytest

import minigrad as mg
from minigrad.ops import methods

TABLE = list(ast.walk(ast.parse(inspect.getsource(methods.Methods))))
ROWS = {
    node.name: node
    for node in TABLE
    if isinstance(node, ast.FunctionDef) and not node.decorator_list
}
for node in TABLE:
    if isinstance(node, ast.Assign) and getattr(node.value, "id", None) in ROWS:
        ROWS |= {name.id: ROWS[node.value.id] for name in node.targets}


@pytest.mark.parametrize(("name", "row"), ROWS.items(), ids=ROWS)
def test_every_row_has_its_code(name, row):
    code = getattr(mg.Tensor, name)
    parameters = list(inspect.signature(code).parameters.values())[1:]
    names = [p.arg for p in row.args.args[1:]]
    given = [*row.args.defaults, *filter(None, row.args.kw_defaults)]
    defaults = [ast.literal_eval(d) for d in given]
    if name.strip("_") == name:
        assert [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD] == names
    assert [p.default for p in parameters if p.default is not p.empty] == defaults
    assert bool(row.args.vararg) == any(p.kind == p.VAR_POSITIONAL for p in parameters)
    named = len(names) + len(row.args.kwonlyargs)
    assert len(parameters) == named + bool(row.args.vararg) + bool(row.args.kwarg)


def test_every_method_has_its_row():
    names = vars(methods.Methods)
    bound = {name for name in names if inspect.isfunction(getattr(methods.Methods, name))}
    assert bound == set(ROWS)
