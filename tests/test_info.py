"""What ``python -m minigrad.info`` says."""

from __future__ import annotations

import pytest

from minigrad import info
from minigrad.kernels import openblas


def test_it_says_what_there_is_and_how_fast(capsys):
    info.main([])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert {"processor", "NumPy", "BLAS", "Numba", "kernels", "CuPy", "copies"} <= set(lines)
    assert float(lines["copies"].split()[0]) > 0
    assert "GFLOP/s" in lines["matrix"]


@pytest.mark.parametrize("family", ["Haswell", "SkylakeX", None])
def test_advice_about_narrow_vectors(monkeypatch, family):
    found = openblas.Library(0, 0, lambda n: None, lambda: 1, family) if family else None
    config = {"Build Dependencies": {"blas": {}}, "SIMD Extensions": {"found": ["AVX512_SKX"]}}
    monkeypatch.setattr(info.np, "show_config", lambda mode: config)
    monkeypatch.setattr(openblas, "library", lambda: found)
    monkeypatch.setattr(info, "installed", lambda package: "1.0")
    advice = " ".join(info.advice())
    assert ("OPENBLAS_CORETYPE=SkylakeX" in advice) == (family == "Haswell")
    assert ("disturb each other" in advice) == (family is None)


def test_advice_to_install_numba(monkeypatch):
    monkeypatch.setattr(info, "installed", lambda package: "not installed")
    assert "Numba is not installed" in " ".join(info.advice())
