"""MNIST and Fashion-MNIST, from a folder you name, a cache, or the network.

Both come as the same four IDX files, so where a file lies decides which data set it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .idx import read_idx
from .source import Source

_Split = tuple[NDArray[np.float32], NDArray[np.int64]]
_KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_SPLITS = {
    "train": {f"train-{kind}": f"train-{kind}.gz" for kind in _KINDS},
    "test": {f"t10k-{kind}": f"t10k-{kind}.gz" for kind in _KINDS},
}
_MNIST_FILES = {
    "train-images-idx3-ubyte.gz": (
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte.gz": (
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte.gz": (
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
_MNIST = Source(
    title="MNIST",
    function="mnist",
    folder="mnist",
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    files=_MNIST_FILES,
    splits=_SPLITS,
)
_FASHION_FILES = {
    "train-images-idx3-ubyte.gz": (
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte.gz": (
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte.gz": (
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}
_FASHION_MNIST = Source(
    title="Fashion-MNIST",
    function="fashion_mnist",
    folder="fashion-mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    files=_FASHION_FILES,
    splits=_SPLITS,
)


def mnist(
    split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True
) -> _Split:
    """Return MNIST: 70,000 grey images of 28 x 28 pixels, the handwritten digits 0 to 9.

    A split is two files, ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, or the same
    with ``t10k`` for the test split, with or without ``.gz``. The first of these folders with both
    is read:

    1. ``root`` if it is given, and then no other;
    2. the subfolder ``mnist`` of the folder that the environment variable ``MINIGRAD_DATA`` names;
    3. ``minigrad/mnist`` in ``$XDG_CACHE_HOME``, else in ``~/.cache`` (on Windows in
       ``%LOCALAPPDATA%``).

    If none has, what is missing is downloaded into the first of them that applies. A download is
    checked against its SHA-256; a file that was there is not, as it may have been gzipped anew.

    Parameters
    ----------
    split : {"train", "test"}, default "train"
        Which part to return.
    root : str, os.PathLike or None, default None
        The folder of the files; created if it is needed for a download.
    download : bool, default True
        Whether missing files may be downloaded.

    Returns
    -------
    images : numpy.ndarray of float32, shape (N, 28, 28)
        Intensities in [0, 1]: the multiples of 1/255. N is 60,000 or 10,000.
    labels : numpy.ndarray of int64, shape (N,)
        The classes, 0 to 9.

    Raises
    ------
    ValueError
        If ``split`` is unknown, or a file is damaged or holds something else.
    FileNotFoundError
        If files are missing and ``download`` is False.
    ConnectionError
        If files are missing and no mirror could provide them.
    OSError
        If a file cannot be read or written.

    Notes
    -----
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
    http://yann.lecun.com/exdb/mnist/.

    Examples
    --------
    >>> mnist("test", root="nowhere", download=False)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileNotFoundError: MNIST's test split is not in nowhere, and download=False.
    Put t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into the folder nowhere, ...
    """
    return _read(*_MNIST.find(split, root, download).values())


def fashion_mnist(
    split: str = "train", root: str | os.PathLike[str] | None = None, download: bool = True
) -> _Split:
    """Return Fashion-MNIST: 70,000 grey images of 28 x 28 pixels, ten kinds of clothing.

    The classes, in order: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag,
    ankle boot. All else is as in ``mnist``: arguments, results, errors, and the names of the files.
    So the subfolder of ``MINIGRAD_DATA`` and of the cache is ``fashion-mnist``, and it is for you to
    see that ``root`` holds this data set and not that one.

    Notes
    -----
    H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
    Machine Learning Algorithms", 2017, https://arxiv.org/abs/1708.07747, MIT licence.

    Examples
    --------
    >>> fashion_mnist("validation")
    Traceback (most recent call last):
        ...
    ValueError: split must be 'train' or 'test', but is 'validation'
    """
    return _read(*_FASHION_MNIST.find(split, root, download).values())


def _read(images_path: Path, labels_path: Path) -> _Split:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or len(images) == 0:
        raise ValueError(
            f"{images_path} must hold uint8 images of shape (N, 28, 28), N > 0, "
            f"but holds {images.dtype} of shape {images.shape}. Put the right file in its place."
        )
    if labels.dtype != np.uint8 or labels.shape != (len(images),):
        raise ValueError(
            f"{labels_path} must hold uint8 labels of shape ({len(images)},), one for each image "
            f"of {images_path.name}, but holds {labels.dtype} of shape {labels.shape}. "
            "Take both files from the same data set and split."
        )
    if labels.max() > 9:
        raise ValueError(
            f"{labels_path} must hold labels from 0 to 9, but holds {labels.max()}. "
            "Put the right file in its place."
        )
    return np.divide(images, 255, dtype=np.float32), labels.astype(np.int64)
