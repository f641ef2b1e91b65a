"""Threads for the tests of compiled kernels."""

from __future__ import annotations

import pytest

from minigrad.kernels.threads import ENOUGH, TEAM, WANTED


@pytest.fixture
def team():
    """The settings of compiled kernels, which share even the smallest work; they are put back afterwards."""
    pytest.importorskip("minigrad.kernels.compiled.launch")  # which counts the threads
    before = TEAM.copy()
    TEAM[ENOUGH] = 1
    yield TEAM
    TEAM[:] = before


@pytest.fixture(params=["one thread", "threads"])
def threads(request, team):
    """Kernels that share even the smallest work, or none."""
    team[WANTED] = 1 if request.param == "one thread" else 2
