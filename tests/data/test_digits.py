"""The digits in the package: intact, balanced, with a fixed split."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from minigrad.data.digits import digits


@pytest.mark.parametrize(
    ("split", "size", "low", "high"), [("train", 1437, 141, 146), ("test", 360, 33, 37)]
)
def test_types_shapes_and_balance(split, size, low, high):
    images, labels = digits(split)
    assert images.shape == (size, 8, 8) and images.dtype == np.float32
    assert labels.shape == (size,) and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 1
    assert images.flags.c_contiguous and labels.flags.c_contiguous
    counts = np.bincount(labels)
    assert len(counts) == 10 and (counts.min(), counts.max()) == (low, high)


def test_the_parts_make_the_file_of_uci():
    parts = zip(digits("train"), digits("test"), strict=True)
    images, labels = (np.concatenate(part) for part in parts)
    rows = np.concatenate([16 * images.reshape(-1, 64), labels[:, None]], axis=1)
    lines = "".join(",".join(str(int(value)) for value in row) + "\n" for row in rows)
    # Of optdigits.tes: 1,797 lines of 64 pixels and a label.
    expected = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
    assert hashlib.sha256(lines.encode()).hexdigest() == expected


def test_parts_are_disjoint_and_results_new():
    train, test = ({image.tobytes() for image in digits(split)[0]} for split in ("train", "test"))
    assert not train & test
    digits()[0][:] = 7  # of the train split
    np.testing.assert_array_equal(digits()[0], digits("train")[0])
    assert digits()[0].max() == 1
    with pytest.raises(ValueError, match="must be 'train' or 'test', but is 'validation'"):
        digits("validation")
