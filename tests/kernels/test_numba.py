"""Compiled batch norm, activations, losses and updates against the generic ones, on every layout they treat apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels.shared import FAST, PLAIN, TYPES, close, layouts

import minigrad as mg

numba = pytest.importorskip("numba")

#: shapes with their kept axis, many and few channels, longer and shorter than the runs in which sums are taken
LAYOUTS = [
    ((64, 3), 1),
    ((700, 1), 1),
    ((7, 300), 1),
    ((2, 5), 1),
    ((4, 3, 8, 6), 1),
    ((5, 2, 30, 31), 1),
    ((6, 4, 16), -1),
    ((3, 1, 4), 0),
    ((9000, 5), 1),
]


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
def test_batch_norm_in_every_layout(rng, threads, shape, axis, real):
    kept = (axis % len(shape),)
    channels = shape[axis]
    values, gradients = rng.normal(2, 3, (2, *shape)).astype(real)
    gamma, beta = rng.normal(size=(2, channels)).astype(real)
    for x, gy in zip(layouts(values, axis), layouts(gradients, axis), strict=True):
        for scale, shift in [(gamma, beta), (None, None)]:
            expected = PLAIN.batch_norm(x, scale, shift, kept, 1e-3, 1)
            found = FAST.batch_norm(x, scale, shift, kept, 1e-3, 1)
            close(found, expected)
            _, mean, var, inv_std = expected
            close(
                FAST.batch_norm_grad(x, scale, mean, inv_std, gy, kept, 1),
                PLAIN.batch_norm_grad(x, scale, mean, inv_std, gy, kept, 1),
                factor=100,
            )
            close(
                [FAST.frozen_batch_norm(x, scale, shift, mean, var, kept, 1e-3)],
                [PLAIN.frozen_batch_norm(x, scale, shift, mean, var, kept, 1e-3)],
            )


def test_a_constant_channel_has_no_variance(threads):
    for x in layouts(np.full((50, 3, 7), 1e4 / 3, np.float32), 1):
        y, mean, var, _ = FAST.batch_norm(x, None, None, (1,), 1e-3, 0)
        assert not y.any() and not var.any()
        assert (mean == x.flat[0]).all()


@pytest.mark.parametrize(("shape", "kept"), [((4, 3, 5), (0, 1)), ((4, 3), (1,))])
def test_what_is_left_to_numpy(rng, shape, kept):
    """Several kept axes, and halves."""
    x = rng.normal(size=shape).astype(np.float16 if kept == (1,) else np.float32)
    kernels = FAST, PLAIN
    found, expected = (k.batch_norm(x, None, None, kept, 1e-3, 0) for k in kernels)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_results_do_not_depend_on_who_works(rng, team):
    x, gy = rng.normal(size=(2, 300, 40, 30)).astype(np.float32)  # several chunks
    found, means = [], x.mean((0, 2), np.float64)
    for count in (1, 2):
        mg.set_num_threads(count)
        for a, b in ((x, gy), (np.moveaxis(x, 1, -1).copy(), np.moveaxis(gy, 1, -1).copy())):
            kept = (1,) if a is x else (2,)
            _, mean, _, inv_std = first = FAST.batch_norm(a, None, None, kept, 1e-3, 0)
            np.testing.assert_allclose(mean, means, rtol=0, atol=1e-6)
            found.append([*first, *FAST.batch_norm_grad(a, None, mean, inv_std, b, kept, 0)])
    for one, two in zip(found[:2], found[2:], strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_exp_over_all_exponents_is_within_two_units_in_the_last_place():
    from minigrad.kernels.compiled.elementwise import exp

    @numba.njit
    def run(x, y):
        for i in range(len(x)):
            y[i] = exp(x[i])

    x = np.arange(0, 2**32, 1009, dtype=np.uint32).view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], np.float32([0, 88.72, 88.73, -87.4, -103.9, -104.1])])
    y = np.empty_like(x)
    run(x, y)
    with np.errstate(over="ignore", under="ignore"):
        exact = np.exp(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    units = np.abs(y[finite] - exact[finite]) / np.spacing(rounded[finite])
    assert units.max() < 2
    assert np.isinf(y[~finite]).all()
    special = np.float32([np.nan, np.inf, -np.inf])
    result = np.empty_like(special)
    run(special, result)
    np.testing.assert_array_equal(result, np.float32([np.nan, np.inf, 0]))


def test_sigmoid_is_accurate_where_it_is_tiny(threads):
    x = np.linspace(-103, 103, 100_001, dtype=np.float32)
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    units = np.abs(FAST.sigmoid(x) - exact) / np.spacing(exact.astype(np.float32))
    assert units.max() < 3
    ends = FAST.sigmoid(np.float32([-np.inf, np.inf, np.nan, -1000, 1000]))
    np.testing.assert_array_equal(ends, np.float32([0, 1, np.nan, 0, 1]))


@pytest.mark.parametrize("real", [*TYPES, np.float16])
def test_activations_and_their_gradients_in_every_layout(rng, threads, real):
    values, gradients = rng.normal(0, 3, (2, 6, 5, 4)).astype(real)
    for x, g in itertools.product(layouts(values, 1), layouts(gradients, 1)):
        y = FAST.sigmoid(x)
        close([y], [PLAIN.sigmoid(x)])
        close([FAST.sigmoid_grad(y, g)], [PLAIN.sigmoid_grad(y, g)])
        np.testing.assert_array_equal(FAST.relu(x), PLAIN.relu(x))
        np.testing.assert_array_equal(FAST.relu_grad(x, g), PLAIN.relu_grad(x, g))


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize("weight", [None, 0.25])
def test_softmax_cross_entropy(rng, threads, real, weight):
    logits = (50 * rng.normal(size=(30, 7))).astype(real)
    labels = rng.integers(0, 7, 30)
    for x in layouts(logits, 0):
        expected = PLAIN.softmax_cross_entropy(x, labels, weight)
        close(FAST.softmax_cross_entropy(x, labels, weight), map(np.asarray, expected))
        gy = np.asarray(rng.normal(size=30 if weight is None else ()), real)
        settings = expected[1], labels, gy, weight
        close(
            [FAST.softmax_cross_entropy_grad(*settings)],
            [PLAIN.softmax_cross_entropy_grad(*settings)],
        )
    logits[3, 2] = np.nan
    losses, p = FAST.softmax_cross_entropy(logits, labels, None)
    assert np.isnan(losses[3]) and np.isnan(p[3]).all()
    assert np.isfinite(np.delete(losses, 3)).all()
    for label in (-1, 7):
        labels[5] = label
        with pytest.raises(ValueError, match=r"expected labels 0 ... 6, got "):
            FAST.softmax_cross_entropy(logits, labels, weight)


UPDATES = {
    "sgd": ("sgd", {"momentum": 0, "nesterov": False, "weight_decay": 0}),
    "decay": ("sgd", {"momentum": 0, "nesterov": False, "weight_decay": 0.1}),
    "momentum": ("sgd", {"momentum": 0.9, "nesterov": False, "weight_decay": 0.1}),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0}),
    "adam": (
        "adam",
        {"betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1, "steps": np.array([3, 7])},
    ),
}


@pytest.mark.parametrize("real", [*TYPES, np.float16])
@pytest.mark.parametrize("name", UPDATES)
def test_updates_in_place(rng, threads, name, real):
    """Of parameters in one call, some of which lie with gaps in memory."""
    kernel, settings = UPDATES[name]
    slots = 4 if name == "adam" else 3 if settings["momentum"] else 2
    values = np.abs(rng.normal(size=(slots, 2, 300, 16))).astype(real)
    results = []
    for kernels in (FAST, PLAIN):
        own = values.copy()
        columns = [(whole, gaps[:, ::2]) for whole, gaps in own]
        getattr(kernels, kernel)(*columns, lr=0.01, **settings)
        results.append(own)
    close(*([r] for r in results))
    assert not np.array_equal(results[0][0], values[0])
    np.testing.assert_array_equal(results[0][-1], values[-1])  # the gradients


def test_no_decay_leaves_infinite_weights_alone():
    p, g = np.float32([np.inf, 1]), np.ones(2, np.float32)
    FAST.sgd((p,), (g,), lr=0.1, **UPDATES["sgd"][1])
    np.testing.assert_array_equal(p, np.float32([np.inf, 0.9]))


@pytest.mark.parametrize(("momentum", "debiased"), [(0.9, False), (None, False), (0.9, True)])
def test_running_statistics(rng, momentum, debiased):
    """Also that the first batch replaces what was there to the last digit where its weight is 1."""
    results = []
    for kernels in (FAST, PLAIN):
        mean, var, count = np.float32([1e8, 2]), np.float32([1, 3]), np.array(0)
        for batch in np.random.default_rng(0).random((3, 2, 2)).astype(np.float32):
            kernels.move_statistics(mean, var, count, *batch, momentum, 1.25, debiased, True)
            results.append([mean.copy(), var.copy(), count.copy()])
    for ours, theirs in zip(results[:3], results[3:], strict=True):
        close(ours[:2], theirs[:2], factor=4)
        assert ours[2] == theirs[2]
    if momentum is None or debiased:
        first = np.random.default_rng(0).random((3, 2, 2)).astype(np.float32)[0]
        np.testing.assert_array_equal(results[0][0], first[0])


@pytest.mark.parametrize("wrong", ["gradient", "velocity"])
def test_a_step_whose_arrays_do_not_fit_writes_nowhere(wrong):
    """The compiled loops see addresses: what is smaller than its parameter is left to NumPy, which refuses it."""
    arrays = {name: np.ones(7, np.float32) for name in ("parameter", "velocity", "gradient")}
    arrays[wrong] = np.ones(3, np.float32)
    columns = [(a,) for a in arrays.values()]
    with pytest.raises(ValueError, match="broadcast"):
        FAST.sgd(*columns, lr=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)


def test_inner_functions_are_code_to_be_linked_only():
    from minigrad.kernels.compiled import inlining, launch

    twice = launch.inner(lambda x: 2 * x)
    first = launch.kernel(lambda x: twice(x[0]))
    first._cache = numba.core.caching.NullCache()  # what is on disk needs no inner function
    assert first(np.array([3.0])) == 6
    ((found,), (whole,)) = (f.overloads.values() for f in (twice, first))
    assert type(found.library) is inlining._Code is not type(whole.library)
