"""Augmentation: random shifts, flips and crops of images, and normalization.

All functions take NumPy batches of floats or integers, shape (n, height, width) or (n, channels, height, width), draw
independently for each image, and return new arrays. ``rng`` defaults to the generator set by ``minigrad.manual_seed``.
Arrays of another type raise TypeError, other shapes and values ValueError.

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2, for crops and flips; S.
Zagoruyko and N. Komodakis, "Wide Residual Networks", 2016, section 3, for the reflection.
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
    """Shift each image along both axes by uniform draws from -pixels, ..., pixels; pad with ``fill``.

    Examples
    --------
    >>> import numpy as np
    >>> shift(np.arange(1, 10).reshape(1, 3, 3), 1, np.random.default_rng(4))
    array([[[5, 6, 0],
            [8, 9, 0],
            [0, 0, 0]]])
    """
    _require_images("shift", images)
    if images.dtype.kind in "iu":
        limits = np.iinfo(images.dtype)
        if not (float(fill).is_integer() and limits.min <= fill <= limits.max):
            raise ValueError(f"shift: expected fill as a value of {images.dtype}, got {fill!r}")
    return _moved("shift", images, "pixels", pixels, rng, constant_values=fill)


def flip(images: _Images, p: float = 0.5, rng: np.random.Generator | None = None) -> _Images:
    """Flip each image horizontally with probability ``p``."""
    _require_images("flip", images)
    if not 0 <= p <= 1:
        raise ValueError(f"flip: expected 0 <= p <= 1, got {p!r}")
    chosen = generator(rng).random(len(images)) < p
    result = images.copy()
    result[chosen] = images[chosen, ..., ::-1]
    return result


def crop(images: _Images, padding: int, rng: np.random.Generator | None = None) -> _Images:
    """Pad by reflection (1 2 3 becomes 3 2 1 2 3 2 1 for 2), and cut a random window of the original size.

    Examples
    --------
    >>> import numpy as np
    >>> crop(np.arange(1, 10).reshape(1, 3, 3), 1, np.random.default_rng(4))
    array([[[5, 6, 5],
            [8, 9, 8],
            [5, 6, 5]]])
    """
    _require_images("crop", images)
    height, width = images.shape[-2:]
    if isinstance(padding, (int, np.integer)) and padding >= min(height, width):
        raise ValueError(
            f"crop: expected padding < {min(height, width)} to reflect images of {height} x {width}, "
            f"got {padding}"
        )
    return _moved("crop", images, "padding", padding, rng, mode="reflect")


def normalize(images: _Images, mean: ArrayLike, std: ArrayLike) -> NDArray[np.float32]:
    """(images - mean) / std in float32, with one number or one per channel, in the units of ``images``.

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
    channels = images.shape[1] if images.ndim == 4 else 1
    numbers = []
    for name, value in {"mean": mean, "std": std}.items():
        array = np.asarray(value, dtype)
        if array.shape not in ((), (channels,)) or not np.isfinite(array).all():
            raise ValueError(
                f"normalize: expected a finite {name}, one number or one per channel, shape "
                f"({channels},), got {value!r} of shape {array.shape}"
            )
        numbers.append(array.reshape(-1, 1, 1))
    if not (numbers[1] > 0).all():
        raise ValueError(f"normalize: expected std > 0, got {std!r}")
    return ((images - numbers[0]) / numbers[1]).astype(np.float32, copy=False)


def _require_images(name: str, images: _Images) -> None:
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "fiu":
        came = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"{name}: expected a NumPy array of floats or integers, got {came}")
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{name}: expected images of shape (n, height, width) or (n, channels, height, width), "
            f"got {images.shape}"
        )


def _moved(
    name: str, images: _Images, argument: str, reach: int, rng: Any, **padding: Any
) -> _Images:
    """Pad each image by ``reach`` on all sides, and cut out a random window of the original size."""
    try:
        reach = index(reach)
    except TypeError:
        raise TypeError(f"{name}: expected {argument} as an int, got {reach!r}") from None
    if reach < 0:
        raise ValueError(f"{name}: expected {argument} >= 0, got {reach}")
    *rest, height, width = images.shape
    require_size(name, (*rest, height + 2 * reach, width + 2 * reach))
    padded = np.pad(images, [(0, 0)] * len(rest) + [(reach, reach)] * 2, **padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(-2, -1))
    # windows: (n, ..., rows, columns, height, width)
    top, left = generator(rng).integers(0, windows.shape[-4:-2], size=(len(padded), 2)).T
    return windows[np.arange(len(padded)), ..., top, left, :, :]
