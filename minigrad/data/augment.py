"""Augmentation: images moved, mirrored and cut at random, and normalized.

All work on NumPy batches of shape (n, height, width) or (n, channels, height, width), draw anew for
each image, and return new arrays.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2, for crops and
flips; S. Zagoruyko and N. Komodakis, "Wide Residual Networks", 2016, section 3, for the reflection.

Examples
--------
An epoch in the recipe for CIFAR:

>>> import numpy as np
>>> from minigrad.data import DataLoader, augment
>>> images, labels = np.ones((100, 3, 32, 32), np.float32), np.zeros(100, np.int64)
>>> inputs = augment.flip(augment.crop(images, 4))
>>> [x.shape for x, t in DataLoader([inputs, labels], batch_size=64)]
[(64, 3, 32, 32), (36, 3, 32, 32)]
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..ops.random import generator
from ..ops.shape import require_size

_Images = NDArray[Any]


def shift(
    images: _Images, pixels: int, rng: np.random.Generator | None = None, fill: float = 0.0
) -> _Images:
    """Move each image by its own whole number of pixels along both axes.

    Both numbers are uniform on -pixels, ..., pixels; what moves out is lost.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, channels, height, width)
        Of a floating or integer dtype.
    pixels : int
        The furthest move, 0 or more.
    rng : numpy.random.Generator, optional
        The default generator, set by ``minigrad.manual_seed``, if left out.
    fill : float
        The value of what comes in.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of ``images``.

    Raises
    ------
    TypeError
        If ``images`` is no such array, pixels no int, or rng no Generator.
    ValueError
        If ``images`` is of another rank, pixels < 0, or the dtype cannot hold ``fill``.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(1, 10).reshape(1, 3, 3)
    >>> shift(images, 1, np.random.default_rng(4))
    array([[[5, 6, 0],
            [8, 9, 0],
            [0, 0, 0]]])
    """
    _require_images("shift", images)
    pixels = _count("shift", "pixels", pixels)
    if images.dtype.kind in "iu":
        limits = np.iinfo(images.dtype)
        if not (float(fill).is_integer() and limits.min <= fill <= limits.max):
            raise ValueError(f"shift: expected fill as a value of {images.dtype}, got {fill!r}")
    height, width = images.shape[-2:]
    require_size("shift", (*images.shape[:-2], height + 2 * pixels, width + 2 * pixels))
    padded = np.pad(images, _edges(images, pixels), constant_values=fill)
    return _windows(padded, images.shape, generator(rng))


def flip(images: _Images, p: float = 0.5, rng: np.random.Generator | None = None) -> _Images:
    """Mirror each image, left to right, with probability ``p``.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, channels, height, width)
        Of a floating or integer dtype.
    p : float in [0, 1]
    rng : numpy.random.Generator, optional
        The default generator, set by ``minigrad.manual_seed``, if left out.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of ``images``.

    Raises
    ------
    TypeError
        If ``images`` is no such array, or rng no Generator.
    ValueError
        If ``images`` is of another rank, or p is outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> flip(np.array([[[1, 2, 3]]]), p=1)
    array([[[3, 2, 1]]])
    """
    _require_images("flip", images)
    if not 0 <= p <= 1:
        raise ValueError(f"flip: expected 0 <= p <= 1, got {p!r}")
    chosen = generator(rng).random(len(images)) < p
    result = images.copy()
    result[chosen] = images[chosen, ..., ::-1]
    return result


def crop(images: _Images, padding: int, rng: np.random.Generator | None = None) -> _Images:
    """Pad by reflection, and cut a window of the original size out of each image, at random.

    The reflection does not repeat the edge: 1 2 3 becomes 3 2 1 2 3 2 1 with a padding of 2.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, channels, height, width)
        Of a floating or integer dtype.
    padding : int
        On each side; 0 or more, and less than height and width.
    rng : numpy.random.Generator, optional
        The default generator, set by ``minigrad.manual_seed``, if left out.

    Returns
    -------
    numpy.ndarray
        Of the shape and dtype of ``images``.

    Raises
    ------
    TypeError
        If ``images`` is no such array, padding no int, or rng no Generator.
    ValueError
        If ``images`` is of another rank, or padding < 0 or too large.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(1, 10).reshape(1, 3, 3)
    >>> crop(images, 1, np.random.default_rng(4))
    array([[[5, 6, 5],
            [8, 9, 8],
            [5, 6, 5]]])
    """
    _require_images("crop", images)
    padding = _count("crop", "padding", padding)
    height, width = images.shape[-2:]
    if padding >= min(height, width):
        raise ValueError(
            f"crop: expected padding < {min(height, width)} to reflect images of {height} x {width}, "
            f"got {padding}"
        )
    padded = np.pad(images, _edges(images, padding), mode="reflect")
    return _windows(padded, images.shape, generator(rng))


def normalize(images: _Images, mean: ArrayLike, std: ArrayLike) -> NDArray[np.float32]:
    """(images - mean) / std, with one number or one per channel.

    Parameters
    ----------
    images : numpy.ndarray, shape (n, height, width) or (n, channels, height, width)
        Of a floating or integer dtype.
    mean, std : float or array of floats, shape (channels,)
        In the units of ``images``; images without channels have one.

    Returns
    -------
    numpy.ndarray of float32
        Of the shape of ``images``.

    Raises
    ------
    TypeError
        If ``images`` is no such array.
    ValueError
        If ``images`` is of another rank, mean or std is neither one number nor one per channel,
        not all are finite, or a std is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).uniform(size=(100, 3, 8, 8))
    >>> x = normalize(images, images.mean((0, 2, 3)), images.std((0, 2, 3)))
    >>> bool(np.allclose(x.mean((0, 2, 3)), 0, atol=1e-6)), x.dtype
    (True, dtype('float32'))
    """
    _require_images("normalize", images)
    dtype = np.result_type(images.dtype, np.float32)
    centre, scale = _statistic("mean", mean, images, dtype), _statistic("std", std, images, dtype)
    if not (scale > 0).all():
        raise ValueError(f"normalize: expected std > 0, got {std!r}")
    result = np.subtract(images, centre, dtype=dtype)
    result /= scale
    return result.astype(np.float32, copy=False)


def _require_images(name: str, images: _Images) -> None:
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "fiu":
        came = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"{name}: expected a NumPy array of floats or integers, got {came}")
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{name}: expected images of shape (n, height, width) or (n, channels, height, width), "
            f"got {images.shape}"
        )


def _count(name: str, argument: str, value: int) -> int:
    try:
        count = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {argument} as an int, got {value!r}") from None
    if count < 0:
        raise ValueError(f"{name}: expected {argument} >= 0, got {count}")
    return count


def _edges(images: _Images, width: int) -> list[tuple[int, int]]:
    """The padding of height and width, and of no other axis."""
    return [(0, 0)] * (images.ndim - 2) + [(width, width)] * 2


def _windows(padded: _Images, shape: tuple[int, ...], rng: np.random.Generator) -> _Images:
    """One window of ``shape`` out of each image, anywhere in it with equal probability."""
    size = shape[-2:]
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(-2, -1))
    # (n, ..., places down, places across, height, width): one place is taken for each image.
    top, left = rng.integers(0, windows.shape[-4:-2], size=(len(padded), 2)).T
    return windows[np.arange(len(padded)), ..., top, left, :, :]


def _statistic(name: str, value: ArrayLike, images: _Images, dtype: np.dtype) -> _Images:
    """One number or one per channel, in a shape that broadcasts against the images."""
    array = np.asarray(value, dtype)
    channels = images.shape[1] if images.ndim == 4 else 1
    if array.shape not in ((), (channels,)):
        raise ValueError(
            f"normalize: expected {name} as one number or of shape ({channels},), one per channel, "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"normalize: expected a finite {name}, got {value!r}")
    return array.reshape(-1, 1, 1)
