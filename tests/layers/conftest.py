"""The default store is empty before and after each test."""

from __future__ import annotations

import pytest

from minigrad import layers


@pytest.fixture(autouse=True)
def clean():
    layers.reset()
    yield
    layers.reset()
