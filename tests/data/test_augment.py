"""augment: independent draws for every image, exact results, and inputs that stay unchanged."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers import error_table, refuses
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.data.augment import crop, flip, normalize, shift

#: the three that draw, with arguments for images of 4 x 5
DRAWING = {
    "shift": lambda images, rng=None: shift(images, 2, rng),
    "flip": lambda images, rng=None: flip(images, 0.5, rng),
    "crop": lambda images, rng=None: crop(images, 3, rng),
}
ALL = DRAWING | {"normalize": lambda images, rng=None: normalize(images, 2.5, 4)}
drawing = pytest.mark.parametrize("function", DRAWING.values(), ids=DRAWING)
all_of_them = pytest.mark.parametrize("function", ALL.values(), ids=ALL)
each_dtype = pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64"])
grey_and_colour = pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "colour"])


def numbered(*shape, dtype=np.float32):
    """Images of different pixels, none of them zero."""
    return np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype)


def shifted(image, down, right, fill):
    """One image moved, pixel by pixel."""
    result = np.full_like(image, fill)
    height, width = image.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[..., y, x] = image[..., y - down, x - right]
    return result


def reflected(image, down, right):
    """A window moved over an image, pixel by pixel, with reflection outside."""
    height, width = image.shape[-2:]
    rows = [height - 1 - abs(height - 1 - abs(y + down)) for y in range(height)]
    columns = [width - 1 - abs(width - 1 - abs(x + right)) for x in range(width)]
    return np.stack([image[..., y, columns] for y in rows], axis=-2)


def outcomes(image, reach, make):
    """All results for an image that ``make`` moves by up to ``reach``."""
    steps = range(-reach, reach + 1)
    return [make(image, down, right) for down in steps for right in steps]


@grey_and_colour
@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(0, 6),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    reach=st.integers(0, 7),
    fill=st.integers(-3, 0),
    cropped=st.booleans(),
)
def test_shifts_and_crops(channels, n, size, reach, fill, cropped):
    images, rng = numbered(n, *channels, *size), np.random.default_rng(0)
    if cropped:
        reach = min(reach, *(side - 1 for side in size))
        results, make = crop(images, reach, rng), reflected
    else:
        results, make = shift(images, reach, rng, fill), partial(shifted, fill=fill)
    assert results.shape == images.shape
    for result, image in zip(results, images, strict=True):
        assert any(np.array_equal(result, one) for one in outcomes(image, reach, make))


@grey_and_colour
def test_flips(rng, channels):
    images = numbered(40, *channels, 4, 5)
    pairs = list(zip(flip(images, rng=rng), images, strict=True))
    same = [np.array_equal(result, image) for result, image in pairs]
    mirrored = [np.array_equal(result, image[..., ::-1]) for result, image in pairs]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert any(same) and any(mirrored)


# --- draws ---


@pytest.mark.parametrize("function", [shift, crop])
def test_positions_are_uniform(rng, function):
    image = numbered(3, 3)
    make = partial(shifted, fill=0) if function is shift else reflected
    results = function(np.broadcast_to(image, (9000, 3, 3)), 1, rng)
    found, counts = np.unique(results, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, np.unique(outcomes(image, 1, make), axis=0))
    # Nine outcomes, 1000 of each expected, with a standard deviation of 30.
    assert len(counts) == 9 and np.abs(counts - 1000).max() < 150


@pytest.mark.parametrize("p", [0, 0.25, 1, None])
def test_frequency_of_flips(rng, p):
    images = np.broadcast_to(numbered(1, 1, 2), (10_000, 1, 2))
    results = flip(images, rng=rng) if p is None else flip(images, p, rng)
    share, p = (results[:, 0, 0] == 2).mean(), 0.5 if p is None else p
    assert share == p or (0 < p < 1 and abs(share - p) < 0.02)


@drawing
def test_a_seed_determines_the_draws(function):
    images = numbered(50, 4, 5)

    def results(seed, default):
        mg.manual_seed(seed)
        rng = None if default else np.random.default_rng(seed)
        return [function(images, rng).tolist() for _ in range(2)]

    for default in (True, False):
        one = results(3, default)
        mg.manual_seed(4)
        assert results(3, default) == one != results(4, default)
        assert one[0] != one[1]
    assert results(3, True) == results(3, False)


@drawing
def test_channels_are_moved_together(function):
    grey = numbered(20, 4, 5)
    colour = np.stack([grey, 100 + grey], axis=1)
    alone, both = (function(images, np.random.default_rng(0)) for images in (grey, colour))
    np.testing.assert_array_equal(both[:, 0], alone)
    np.testing.assert_array_equal(both[:, 1], np.where(alone == 0, 0, alone + 100))


# --- all functions ---


@each_dtype
@pytest.mark.parametrize(
    ("shape", "mean", "std"),
    [
        ((7, 3, 4, 5), np.array([1.5, -2, 100]), [0.5, 3, 80]),
        ((7, 3, 4, 5), np.int64(2), np.array(4)),
        ((7, 1, 4, 5), 2, 4.0),
        ((7, 4, 5), np.float32(2), 4),
        ((7, 4, 5), [2], np.array([4.0])),
    ],
)
def test_normalize(rng, dtype, shape, mean, std):
    images = rng.uniform(0, 200, shape).astype(dtype)
    mean_column, std_column = (np.reshape(v, (-1, 1, 1)) for v in (mean, std))
    result = normalize(images, mean, std)
    assert result.dtype == np.float32
    expected = (images.astype(float) - mean_column) / std_column
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
    precise = 1e6 + rng.uniform(0, 1e-3, (7, 4, 5))  # a large mean costs float64 no digits
    np.testing.assert_allclose(normalize(precise, 1e6, 1e-3), (precise - 1e6) / 1e-3, rtol=1e-6)


@drawing
@each_dtype
def test_dtypes_are_kept(rng, function, dtype):
    images = numbered(6, 4, 5, dtype=dtype)
    result = function(images, rng)
    assert result.dtype == dtype
    assert set(result.ravel()) <= {0, *images.ravel()}


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "strided": lambda a: a.repeat(2, -1)[..., ::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
}


@all_of_them
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_inputs_are_unchanged_in_any_layout(function, layout):
    images = numbered(6, 3, 4, 5)
    other = layout(images)
    other.flags.writeable = False
    one, two = (function(a, np.random.default_rng(0)) for a in (images, other))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(images, numbered(6, 3, 4, 5))
    assert two.flags.writeable and not np.shares_memory(two, other)


@all_of_them
def test_shapes_and_types(function):
    for shape in [(0, 4, 5), (0, 3, 4, 5), (6, 0, 4, 5)]:
        assert function(np.ones(shape, np.float32)).shape == shape
    for shape in [(), (4,), (4, 5), (1, 2, 3, 4, 5)]:
        with refuses(ValueError, "(n, height, width) or (n, channels, height, width), got ("):
            function(np.ones(shape))
    others = {"dtype complex128": np.ones((1, 4, 5), complex), "list": [[[1.0]]]}
    others |= {"dtype bool": np.ones((1, 4, 5), bool), "Tensor": mg.ones((1, 4, 5))}
    for came, images in others.items():
        with refuses(TypeError, f"expected a NumPy array of floats or integers, got {came}"):
            function(images)


@drawing
def test_a_seed_is_no_generator(function):
    with refuses(TypeError, "expected a numpy.random.Generator"):
        function(np.ones((2, 4, 5)), 0)


X, COLOUR, BYTES = np.ones((2, 4, 5)), np.ones((2, 3, 4, 5)), np.ones((2, 4, 5), np.uint8)


@error_table(
    {
        "float": (TypeError, "shift: expected pixels as an int, got 1.0", partial(shift, X, 1.0)),
        "pixels < 0": (ValueError, "shift: expected pixels >= 0, got -1", partial(shift, X, -1)),
        "fill 0.5": (ValueError, "value of uint8, got 0.5", partial(shift, BYTES, 1, fill=0.5)),
        "fill 256": (ValueError, "value of uint8, got 256", partial(shift, BYTES, 1, fill=256)),
        "fill -1": (ValueError, "value of uint8, got -1", partial(shift, BYTES, 1, fill=-1)),
        "fill NaN": (ValueError, "value of uint8, got nan", partial(shift, BYTES, 1, fill=np.nan)),
        "p > 1": (ValueError, "flip: expected 0 <= p <= 1, got 1.5", partial(flip, X, 1.5)),
        "p < 0": (ValueError, "flip: expected 0 <= p <= 1, got -0.1", partial(flip, X, -0.1)),
        "p NaN": (ValueError, "flip: expected 0 <= p <= 1, got nan", partial(flip, X, np.nan)),
        "str": (TypeError, "crop: expected padding as an int, got '1'", partial(crop, X, "1")),
        "padding < 0": (ValueError, "crop: expected padding >= 0, got -2", partial(crop, X, -2)),
        "padding 4": (ValueError, "padding < 4 to reflect images of 4 x 5", partial(crop, X, 4)),
        "means": (ValueError, "mean, one number or one per", partial(normalize, COLOUR, [1, 2], 1)),
        "stds": (ValueError, "of shape (3, 1)", partial(normalize, COLOUR, 1, np.ones((3, 1)))),
        "channels": (ValueError, "per channel, shape (1,)", partial(normalize, X, [1, 2, 3], 1)),
        "std 0": (ValueError, "std > 0, got [1, 0, 1]", partial(normalize, COLOUR, 0, [1, 0, 1])),
        "std < 0": (ValueError, "expected std > 0, got -1", partial(normalize, X, 0, -1)),
        "std NaN": (ValueError, "a finite std", partial(normalize, X, 0, np.nan)),
        "one NaN": (ValueError, "finite mean", partial(normalize, COLOUR, [0, np.nan, 0], 1)),
        "mean inf": (ValueError, "a finite mean", partial(normalize, X, np.inf, 1)),
    }
)
def test_errors(error, words, call):
    with refuses(error, words):
        call()


@pytest.mark.parametrize("fill", [0, 255, np.uint8(7), 3.0])
def test_fills_that_fit(fill):
    result = shift(np.zeros((50, 1, 1), np.uint8), 1, np.random.default_rng(0), fill)
    assert set(result.ravel()) == {0, int(fill)}
