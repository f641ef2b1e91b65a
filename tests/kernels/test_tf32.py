"""Whether a GPU may round what it multiplies: the setting, and who follows it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import minigrad as mg
from minigrad.kernels import tf32


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(tf32, "_governed", [])
    monkeypatch.setattr(tf32, "_allowed", False)


def cupy():
    """As much of CuPy as is told."""
    types = SimpleNamespace(COMPUTE_TYPE_DEFAULT="default", COMPUTE_TYPE_TF32="tf32")
    core = SimpleNamespace(_routines_linalg=types, told=[])
    core.set_compute_type = lambda dtype, kind: core.told.append((dtype, kind))
    return SimpleNamespace(_core=core)


def test_it_is_off_unless_allowed():
    assert mg.tf32_allowed() is False
    mg.allow_tf32()
    assert mg.tf32_allowed() is True
    mg.allow_tf32(False)
    assert mg.tf32_allowed() is False


def test_cupy_follows():
    early = cupy()
    tf32.govern(early)
    assert early._core.told == [("float32", "default")]  # said, or CUPY_TF32 would decide
    mg.allow_tf32()
    late = cupy()
    tf32.govern(late)
    mg.allow_tf32(False)
    assert early._core.told == [("float32", k) for k in ("default", "tf32", "default")]
    assert late._core.told == [("float32", "tf32"), ("float32", "default")]


def test_a_cupy_that_refuses_changes_nothing():
    def refuse(dtype, kind):
        raise RuntimeError("no driver")

    module = cupy()
    tf32.govern(module)
    module._core.set_compute_type = refuse
    with pytest.raises(RuntimeError, match="no driver"):
        mg.allow_tf32()
    assert mg.tf32_allowed() is False


def test_cupy_itself(monkeypatch):
    """It needs no GPU to be told to multiply in float32."""
    module = pytest.importorskip("cupy")
    types = module._core._routines_linalg
    monkeypatch.setenv("CUPY_TF32", "1")
    module._core.set_compute_type("float32", types.COMPUTE_TYPE_TBD)
    tf32.govern(module)
    assert module._core.get_compute_type("float32") == types.COMPUTE_TYPE_DEFAULT
