"""What ``python -m minigrad.info`` says."""

from __future__ import annotations

import sys
import types

import pytest

from minigrad import info


def test_it_says_what_there_is_and_how_fast(capsys):
    info.main([])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert {"processor", "NumPy", "BLAS", "Numba", "kernels", "CuPy", "copies"} <= set(lines)
    assert float(lines["copies"].split()[0]) > 0
    assert "GFLOP/s" in lines["matrix"]
    assert lines["kernel"].startswith("cache")


@pytest.mark.parametrize("family", ["Haswell", "SkylakeX", None])
def test_advice_about_narrow_vectors(monkeypatch, family):
    config = {"Build Dependencies": {"blas": {}}, "SIMD Extensions": {"found": ["AVX512_SKX"]}}
    monkeypatch.setattr(info.np, "show_config", lambda mode: config)
    monkeypatch.setattr(info, "openblas", lambda: (family, 2) if family else None)
    monkeypatch.setattr(info, "installed", lambda package: "1.0")
    advice = " ".join(info.advice())
    assert ("OPENBLAS_CORETYPE=SkylakeX" in advice) == (family == "Haswell")


def test_advice_to_install_numba(monkeypatch):
    monkeypatch.setattr(info, "installed", lambda package: "not installed")
    assert "Numba is not installed" in " ".join(info.advice())


def test_openblas(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert info.openblas() is None
    found = {"filepath": "site-packages/numpy.libs/a.so", "architecture": "Zen", "num_threads": 3}
    others = [{"filepath": "site-packages/torch/libgomp.so"}, {**found, "filepath": "scipy.libs/a"}]
    module = types.SimpleNamespace(threadpool_info=lambda: [*others, found])
    monkeypatch.setitem(sys.modules, "threadpoolctl", module)
    assert info.openblas() == ("Zen", 3)
    assert "Zen kernels, 3 threads" in info.describe()["BLAS"]
