"""The picture of batch norm, its paths switched off, and results as tables."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from helpers import normal, refuses

import minigrad as mg
from minigrad.study.drawing import LETTER, PLACES, shown
from minigrad.study.paths import PATHS

pytestmark = pytest.mark.usefixtures("backend")
CHOICES = [choice for n in range(4) for choice in combinations(PATHS, n)]


def problem(rng, *shape):
    return 100 * normal(rng, *shape) - 1e4, None, None, normal(rng, *shape) / 1e6


def parsed(page):
    picture = page[page.index("<svg") : page.index("</svg>") + 6]
    return ET.fromstring(picture.replace('xmlns="http://www.w3.org/2000/svg"', ""))


def words(element):
    return ["".join(text.itertext()) for text in element.iter("text")]


@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (6, 3), (32, 8, 4, 4)])
def test_text_stays_in_its_box_and_off_other_text(rng, shape):
    picture = parsed(mg.study.batch_norm_forms(*problem(rng, *shape)).atomic.svg())
    boxes = [[float(r.get(k)) for k in ("x", "y", "width", "height")] for r in picture.iter("rect")]
    assert len(boxes) == len(PLACES)
    found = []
    for text, said in zip(picture.iter("text"), words(picture), strict=True):
        y, length = float(text.get("y")), LETTER * len(said)
        start = float(text.get("x")) - (length if text.get("text-anchor") else 0)
        found.append((start, y, start + length))
        assert any(
            x <= start and start + length <= x + width and top <= y - 10 and y + 2 <= top + height
            for x, top, width, height in boxes
        ), said
    for (_, y, end), (start, v, _) in combinations(sorted(found), 2):
        assert abs(y - v) >= 12 or end < start


def test_paths_are_switched_off(rng):
    arguments = problem(rng, 3, 2)
    atomic = mg.study.batch_norm_forms(*arguments).atomic
    page, parts = atomic._repr_html_(), mg.study.batch_norm_paths(*arguments).parts
    for choice in CHOICES:
        picture = parsed(atomic.svg(without=choice))
        faint = {g.get("class") for g in picture.iter("g") if g.get("opacity") not in (None, "1")}
        assert faint == {f"mg-{path}" for path in choice}
        left = sum((parts[path] for path in PATHS if path not in choice), parts["var"] * 0)
        marks = {f"mg-{path}-{'off' if path in choice else 'on'}" for path in PATHS}
        for drawn in (picture, parsed(page)):
            chosen = [g for g in drawn.iter("g") if marks < {*g.get("class").split()}]
            assert [words(g) for g in chosen] == [[shown(left)]]
        assert all(f" .{mark}" in page for mark in marks)
    assert page.count('type="checkbox"') == 3 and "<script" not in page
    with refuses(ValueError, "svg: expected without to name some of direct, mean, var, got 'mean'"):
        atomic.svg(without="mean")


TABLES = {
    "Forms": (lambda *p: mg.study.batch_norm_forms(*p), "form atomic three_path closed differ"),
    "Paths": (
        lambda *p: mg.study.batch_norm_paths(*p),
        "gradient direct mean var total dl_dxhat dl_dvar dl_dmean dl_dgamma dl_dbeta",
    ),
    "Jacobian": (lambda x, *_: mg.study.jacobian(x.numpy()[:, 0]), "dy_i y_1 y_2 y_3 rank singular |gamma| xhat"),
    "Invariants": (
        lambda x, gamma, beta, gy: mg.study.invariants(x, gamma, gy),
        "invariant mean var sum sum y gu gW y gu gW",
    ),
    "Gaps": (lambda x, *_: mg.study.gap(mg.nn.BatchNorm(2), [x.astype("float32")]), "layer BatchNorm"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_tables(rng, name):
    make, first = TABLES[name]
    found = make(*problem(rng, 3, 2))
    assert [line.split()[0] for line in str(found).splitlines()] == first.split()
    assert repr(found) == str(found)
    rows = [re.findall("<t[hd]>(.*?)</t[hd]>", row) for row in found._repr_html_().split("<tr>")]
    assert {len(row) for row in rows[1:]} == {len(rows[1])}
    assert [" ".join(row).split() for row in rows[1:]] == [*map(str.split, str(found).splitlines())]


def test_shown():
    values = [1 / 3, -0.0, 2e7, 4], [1, 1], [-1, 2, 0, 0, 7]
    found = [shown(mg.tensor(v)) for v in values]
    assert found == ["0.333, 0, 2e+07, 4", "1", "-1 to 7"]
