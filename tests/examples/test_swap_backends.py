"""examples/swap_backends.py: its table, and that training gives the same numbers on every backend."""

from __future__ import annotations

import re

import numpy as np
import pytest

from examples import swap_backends
from minigrad import backend as backends

TOLERANCE = 1e-5


def step_losses(out):
    """The table of losses, one row a step."""
    rows = re.findall(r"^ +(\d+)((?: +\d+\.\d{7})+)$", out, re.MULTILINE)
    assert [int(step) for step, _ in rows] == list(range(1, len(rows) + 1))
    return np.array([[float(loss) for loss in losses.split()] for _, losses in rows])


def others():
    return [name for name in backends.available() if name != "numpy"]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("other", others())
def test_ten_steps_agree(other, seed):
    reference = swap_backends.train("numpy", 10, seed)
    other = swap_backends.train(other, 10, seed)
    assert max(swap_backends.differences(other, reference)) <= TOLERANCE


def test_training_learns_and_moves_weights_and_statistics():
    losses, state = swap_backends.train("numpy", 10, 0)
    assert losses[-1] < 0.7 * losses[0]
    before = swap_backends.make_model(0).state_dict()
    for name, value in state.items():
        assert np.abs(value - before[name]).max() > 1e-3, name


def test_differences_see_losses_and_states_apart():
    losses, state = swap_backends.train("numpy", 2, 0)
    moved = state | {"5.running_var": state["5.running_var"] - 0.25}
    assert swap_backends.differences((losses, state), (losses, state)) == (0, 0)
    assert swap_backends.differences((losses, state), (losses, moved)) == pytest.approx((0, 0.25))
    late = [losses[0], losses[1] + 0.5]
    assert swap_backends.differences((losses, state), (late, state)) == pytest.approx((0.5, 0))


def test_each_way_leads_to_the_backend_and_back(backend):
    for name in ("numpy", "strict"):
        ways = swap_backends.ways_to(name)
        assert set(ways.values()) == {name}
        calls = [code.partition("(")[0] for code in ways]
        assert calls == ["mg.tensor", "model.to", "mg.set_backend"]
        assert backends.default().name == backend


def test_main_puts_the_backends_side_by_side(capsys):
    swap_backends.main([])
    out = capsys.readouterr().out
    names = backends.available()
    assert f"backends here: {', '.join(names)}" in out
    assert 'mg.tensor([1, 2], backend="strict")' in out
    losses = step_losses(out)
    assert losses.shape == (10, len(names))
    np.testing.assert_allclose(losses[:, 0], swap_backends.train("numpy", 10, 0)[0], atol=1e-7)
    np.testing.assert_allclose(losses, losses[:, :1].repeat(len(names), axis=1), atol=TOLERANCE)
    assert out.count("largest differences between") == len(names) - 1
    for difference in re.findall(
        r"^   (?:losses|weights and running statistics) +(\S+)$", out, re.MULTILINE
    ):
        assert float(difference) <= TOLERANCE


def test_numpy_alone(capsys):
    swap_backends.report(["numpy"], steps=2, seed=5)
    out = capsys.readouterr().out
    np.testing.assert_allclose(
        step_losses(out)[:, 0], swap_backends.train("numpy", 2, 5)[0], atol=1e-7
    )
    assert "numpy is the only backend here: there is nothing to compare it with" in out
    assert "largest differences" not in out
    assert step_losses(out).shape == (2, 1)


def test_main_says_why_cupy_is_missing(capsys, monkeypatch):
    def no_gpu():
        raise RuntimeError("the cupy backend needs an NVIDIA GPU, and CuPy finds none")

    monkeypatch.delitem(backends._loaded, "cupy", raising=False)
    monkeypatch.setitem(backends._loaders, "cupy", no_gpu)
    swap_backends.main(["--steps", "1"])
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert "cupy" not in first
    assert second == "cupy is not:   the cupy backend needs an NVIDIA GPU, and CuPy finds none"
    assert swap_backends.why_missing("numpy") is None
