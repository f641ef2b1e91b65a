"""The compiled kernels against the generic ones, on every layout they treat apart; threads, forks, exponents."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.kernels.convolution import Window
from minigrad.kernels.generic import Kernels
from minigrad.kernels.numba import NumbaKernels

numba = pytest.importorskip("numba")

FAST, PLAIN = NumbaKernels(np), Kernels(np)
TYPES = [np.float32, np.float64]
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


def layouts(array, axis):
    """The same numbers as they may lie in memory."""
    yield array
    yield np.moveaxis(np.ascontiguousarray(np.moveaxis(array, axis, -1)), -1, axis)
    yield np.asfortranarray(array)
    yield np.repeat(array, 2, axis=0)[::2]
    locked = array.copy()
    locked.flags.writeable = False
    yield locked


def close(found, expected, factor=30):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        tolerance = factor * np.finfo(ours.dtype).eps
        np.testing.assert_allclose(
            ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max()
        )


@pytest.fixture(params=["one thread", "threads"])
def threads(request, monkeypatch):
    """Kernels that share even the smallest work, or none."""
    from minigrad.kernels.compiled import threads

    monkeypatch.setattr(threads, "ENOUGH", 1)
    before = mg.get_num_threads()
    mg.set_num_threads(1 if request.param == "one thread" else 2)
    yield
    mg.set_num_threads(before)


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


def test_results_do_not_depend_on_who_works(rng, monkeypatch):
    from minigrad.kernels.compiled import threads

    monkeypatch.setattr(threads, "ENOUGH", 1)
    x, gy = rng.normal(size=(2, 300, 40, 6)).astype(np.float32)
    found = []
    before = mg.get_num_threads()
    for count in (1, 2):
        mg.set_num_threads(count)
        for a, b in ((x, gy), (np.moveaxis(x, 1, -1).copy(), np.moveaxis(gy, 1, -1).copy())):
            kept = (1,) if a is x else (2,)
            _, mean, _, inv_std = first = FAST.batch_norm(a, None, None, kept, 1e-3, 0)
            found.append([*first, *FAST.batch_norm_grad(a, None, mean, inv_std, b, kept, 0)])
    mg.set_num_threads(before)
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
def test_relu_at_its_edge_and_of_what_is_no_number(real):
    x = np.array([np.nan, np.inf, -np.inf, 0, -0.0], real)
    np.testing.assert_array_equal(FAST.relu(x), np.array([np.nan, np.inf, 0, 0, 0], real))
    gy = np.array([1, 2, 3, 4, np.nan], real)
    np.testing.assert_array_equal(FAST.relu_grad(x, gy), PLAIN.relu_grad(x, gy))


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
    "adam": ("adam", {"betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1, "step": 3}),
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
            kernels.move_statistics(mean, var, count, *batch, momentum, 1.25, debiased)
            results.append([mean.copy(), var.copy(), count.copy()])
    for ours, theirs in zip(results[:3], results[3:], strict=True):
        close(ours[:2], theirs[:2], factor=4)
        assert ours[2] == theirs[2]
    if momentum is None or debiased:
        first = np.random.default_rng(0).random((3, 2, 2)).astype(np.float32)[0]
        np.testing.assert_array_equal(results[0][0], first[0])


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize("channels", [1, 3, 5, 8])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 2)])
def test_convolutions_and_their_gradients(
    rng, threads, monkeypatch, channels, stride, dilation, real
):
    from minigrad.kernels import convolution

    monkeypatch.setattr(convolution, "TILE", 400)
    convolution.tiles.cache_clear()
    for padding, groups in (
        (((0, 0), (0, 0)), 1),
        (((1, 2), (3, 0)), 1),
        (((1, 1), (0, 2)), channels),
    ):
        window = Window((3, 2), stride, padding, dilation, groups)
        x = rng.normal(size=(3, channels, 9, 8)).astype(real)
        weight = rng.normal(size=(4 * groups, channels // groups, 3, 2)).astype(real)
        expected = PLAIN.conv2d(x, weight, None, window)
        gy = rng.normal(size=expected.shape).astype(real)
        gw, gx = (
            PLAIN.conv2d_weight_grad(x, gy, window),
            PLAIN.conv2d_input_grad(gy, weight, window, (9, 8)),
        )
        for a in layouts(x, 1):
            close([FAST.conv2d(a, weight, None, window)], [expected])
            close([FAST.conv2d_weight_grad(a, gy, window)], [gw])
        for a in layouts(gy, 1):
            close([FAST.conv2d_weight_grad(x, a, window)], [gw])
            close([FAST.conv2d_input_grad(a, weight, window, (9, 8))], [gx])
    convolution.tiles.cache_clear()


@pytest.mark.parametrize("real", [*TYPES, np.float16])
@pytest.mark.parametrize(
    "shape", [(2, 16, 8, 8), (3, 5, 7, 9), (2, 17, 20, 30), (1, 1, 3, 3), (2, 40, 1, 2)]
)
def test_channels_brought_next_to_each_other(rng, threads, shape, real):
    for x in layouts(rng.normal(size=shape).astype(real), 1):
        found = FAST.channels_last(x)
        np.testing.assert_array_equal(found, x)
        assert found.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
def test_max_pool_and_its_gradient(rng, threads, stride):
    for padding in (((0, 0), (0, 0)), ((1, 1), (1, 0))):
        window = Window((3, 2), stride, padding)
        x = rng.integers(0, 4, (2, 5, 7, 6)).astype(np.float32)
        y, place = PLAIN.max_pool2d(x, window)
        gy = rng.normal(size=y.shape).astype(np.float32)
        for a, g in zip(layouts(x, 1), layouts(gy, 1), strict=True):
            ours, where = FAST.max_pool2d(a, window)
            np.testing.assert_array_equal(ours, y)
            np.testing.assert_array_equal(where, place)
            gx = FAST.max_pool2d_grad(g, place, window, (7, 6))
            close([gx], [PLAIN.max_pool2d_grad(gy, place, window, (7, 6))])
            close([FAST.sum_pool2d(a, window)], [PLAIN.sum_pool2d(x, window)])
            close(
                [FAST.sum_pool2d_grad(g, window, (7, 6))],
                [PLAIN.sum_pool2d_grad(gy, window, (7, 6))],
            )
    x[:] = -np.inf
    _, place = FAST.max_pool2d(x, window)
    gx = FAST.max_pool2d_grad(gy, place, window, (7, 6))
    np.testing.assert_allclose(gx.sum(), gy.sum(), rtol=1e-4)


@pytest.mark.parametrize("real", TYPES)
@pytest.mark.parametrize(("m", "k", "n"), [(40, 30, 20), (5, 300, 70), (1, 200, 90), (90, 200, 1)])
def test_products_of_matrices_however_they_lie(rng, threads, m, k, n, real):
    a, b = rng.normal(size=(m, k)).astype(real), rng.normal(size=(k, n)).astype(real)
    for x, y in itertools.product(layouts(a, 0), layouts(b, 0)):
        close([FAST.matmul(x, y)], [a @ b], factor=200)
    weight = np.ascontiguousarray(b.T)
    bias = rng.normal(size=n).astype(real)
    close([FAST.linear(a, weight, bias)], [a @ b + bias], factor=200)


@pytest.mark.parametrize("real", TYPES)
def test_stacks_of_matrices(rng, threads, real):
    a, b = rng.normal(size=(2, 3, 9, 20)).astype(real), rng.normal(size=(2, 3, 20, 17)).astype(real)
    for x in (a, np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2), a[:, ::-1]):
        close([FAST.matmul(x, b)], [np.matmul(x, b)], factor=200)
        close([FAST.matmul(x[0], b[1])], [np.matmul(x[0], b[1])], factor=200)


@pytest.mark.parametrize("real", TYPES)
def test_products_of_every_size_around_a_tile(rng, threads, monkeypatch, real):
    """All remainders of rows, columns and runs; the first factor packed and not; numbers next to the result stay."""
    from minigrad.kernels.compiled import products

    for m, k, n in itertools.product(
        (1, 5, 6, 7, 8, 13), (1, 7, 8, 300), (1, 8, 9, 16, 17, 31, 40)
    ):
        a, b = rng.normal(size=(m, k)).astype(real), rng.normal(size=(k, n)).astype(real)
        around = np.full((m + 2, n), 7, real)
        products.product(a, b, around[1:-1])
        close([around[1:-1]], [a @ b], factor=200)
        assert (around[[0, -1]] == 7).all()
        products.product(a, b, around[1:-1], add=True)
        close([around[1:-1]], [2 * (a @ b)], factor=200)
    width = 2 * products.WIDTH // np.dtype(real).itemsize
    for k in (products.RUN, 2 * products.RUN + 3):
        a, b = (
            rng.normal(size=(70, k)).astype(real),
            rng.normal(size=(k, 19 * width + 3)).astype(real),
        )
        for x in (a, np.asfortranarray(a)):
            for rows in (slice(None), slice(3)):
                total = FAST.matmul(x[rows], b)
                close([total], [a[rows] @ b], factor=500)
                products.product(x[rows], b, total, add=True)
                close([total], [2 * (a[rows] @ b)], factor=500)


def test_a_nan_stays_in_its_row_and_column(rng):
    a, b = rng.normal(size=(2, 20, 20)).astype(np.float32)
    a[3, 5], b[7, 2] = np.nan, np.inf
    bad = np.zeros((20, 20), bool)
    bad[3], bad[:, 2] = True, True
    np.testing.assert_array_equal(np.isfinite(FAST.matmul(a, b)), ~bad)


def test_products_do_not_depend_on_who_works(rng, monkeypatch):
    from minigrad.kernels.compiled import threads

    monkeypatch.setattr(threads, "ENOUGH", 1)
    a, b = (
        rng.normal(size=(70, 500)).astype(np.float32),
        rng.normal(size=(500, 90)).astype(np.float32),
    )
    before, found = mg.get_num_threads(), []
    for count in (1, 2):
        mg.set_num_threads(count)
        found.append(FAST.matmul(a, b))
    mg.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_empty_products(rng):
    for m, k, n in ((0, 300, 300), (300, 0, 300), (300, 300, 0)):
        np.testing.assert_array_equal(
            FAST.matmul(np.ones((m, k)), np.ones((k, n))), np.zeros((m, n))
        )


def train(steps=4):
    rng = np.random.default_rng(0)
    model = mg.nn.Sequential(
        mg.nn.Conv2d(3, 16, 3, stride=2, bias=False, rng=rng),
        mg.nn.BatchNorm(16),
        mg.nn.Sigmoid(),
        mg.nn.Flatten(),
        mg.nn.Linear(16 * 49, 10, rng=rng),
    )
    optimizer = mg.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        x = mg.tensor(rng.normal(size=(64, 3, 16, 16)).astype(np.float32))
        optimizer.zero_grad()
        mg.softmax_cross_entropy(model(x), mg.tensor(rng.integers(0, 10, 64))).backward()
        optimizer.step()
    return b"".join(v.tobytes() for v in model.state_dict().values())


def test_several_python_threads_train_at_once(threads):
    expected, found = train(), []
    workers = [threading.Thread(target=lambda: found.append(train())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 4


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip() + done.stderr.strip().rpartition("\n")[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_trains():
    """In a process of its own: other libraries that were imported here may not survive a fork."""
    code = """
import multiprocessing
import minigrad as mg
from minigrad.kernels.compiled import threads
from test_numba import train
threads.ENOUGH = 1
mg.set_num_threads(2)
expected = train()
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(train).get(timeout=60) == expected, train() == expected)
"""
    here = os.path.dirname(__file__)
    assert run(code, PYTHONPATH=os.pathsep.join([here, *sys.path])) == "True True"


def test_numba_is_imported_at_the_first_call_of_a_kernel():
    code = """
import sys, minigrad as mg
x = mg.ones((4, 3))
assert "numba" not in sys.modules
mg.batch_norm(x + mg.arange(12).reshape(4, 3), None, None)
print("numba" in sys.modules)
"""
    assert run(code, MINIGRAD_KERNELS="") == "True"
    assert run(code, MINIGRAD_KERNELS="numpy") == "False"
    assert "expected numba or numpy, got 'fast'" in run(code, MINIGRAD_KERNELS="fast")


def test_number_of_threads():
    code = "import minigrad as mg; print(mg.get_num_threads())"
    assert run(code, OMP_NUM_THREADS="3") == "3"
    assert run(code, OMP_NUM_THREADS="2,1") == "2"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert run(code, OMP_NUM_THREADS="") == str(cores)
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(ValueError, match="set_num_threads: expected a positive integer"):
            mg.set_num_threads(wrong)
