"""Threads for the tests of compiled kernels."""

from __future__ import annotations

import pytest

import minigrad as mg


@pytest.fixture(params=["one thread", "threads"])
def threads(request, monkeypatch):
    """Kernels that share even the smallest work, or none."""
    from minigrad.kernels.compiled import threads

    monkeypatch.setattr(threads, "ENOUGH", 1)
    before = mg.get_num_threads()
    mg.set_num_threads(1 if request.param == "one thread" else 2)
    yield
    mg.set_num_threads(before)
