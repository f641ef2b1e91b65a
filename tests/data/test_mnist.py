"""mnist() and fashion_mnist(): where they look, what they refuse, how they download."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from minigrad.data import source
from minigrad.data.mnist import fashion_mnist, mnist

# `import minigrad.data.mnist as module` would give the function of that name.
module = importlib.import_module("minigrad.data.mnist")

IMAGES = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], dtype=np.uint8)
IMAGES_NAME, LABELS_NAME = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def encode(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()


def fill(folder, images=IMAGES, labels=LABELS, prefix="t10k", zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        content = encode(array)
        if zipped:
            name, content = f"{name}.gz", gzip.compress(content, mtime=0)
        (folder / f"{prefix}-{name}").write_bytes(content)
    return folder


def first_label(pair):
    return int(pair[1][0])


def everything_under(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test sees the user's own cache or data folder."""
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return tmp_path


class TestReading:
    @pytest.mark.parametrize("function", [mnist, fashion_mnist])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_types_shapes_and_values(self, home, function, zipped):
        images, labels = function("test", root=fill(home / "here", zipped=zipped), download=False)
        assert images.shape == (3, 28, 28) and images.dtype == np.float32
        assert labels.shape == (3,) and labels.dtype == np.int64
        np.testing.assert_array_equal(images, IMAGES.astype(np.float32) / 255)
        np.testing.assert_array_equal(labels, LABELS)
        assert images.max() == 1

    def test_train_is_the_default_and_needs_only_its_own_files(self, home):
        fill(home / "here", prefix="train", labels=LABELS[::-1].copy())
        assert first_label(mnist(root=home / "here", download=False)) == 9
        with pytest.raises(FileNotFoundError, match="t10k"):
            mnist("test", root=home / "here", download=False)

    def test_root_may_be_a_string_and_begin_with_a_tilde(self, home, monkeypatch):
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("USERPROFILE", str(home))
        fill(home / "here")
        assert first_label(mnist("test", root="~/here", download=False)) == 7

    def test_results_are_fresh(self, home):
        fill(home / "here")
        for array in mnist("test", root=home / "here", download=False):
            array[:] = 5
        assert first_label(mnist("test", root=home / "here", download=False)) == 7

    @pytest.mark.parametrize("split", ["validation", "t10k", None])
    def test_unknown_split(self, home, split):
        with pytest.raises(ValueError, match=f"must be 'train' or 'test', but is {split!r}"):
            mnist(split, root=home)


class TestFolders:
    def test_data_folder_keeps_the_two_apart(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fill(home / "data" / "mnist")
        assert first_label(mnist("test", download=False)) == 7
        with pytest.raises(FileNotFoundError):
            fashion_mnist("test", download=False)
        fill(home / "data" / "fashion-mnist", labels=LABELS[1:].repeat(2)[:3])
        assert first_label(fashion_mnist("test", download=False)) == 0

    def test_data_folder_itself_is_not_searched(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(fill(home / "data")))
        for function in (mnist, fashion_mnist):
            with pytest.raises(FileNotFoundError):
                function("test", download=False)

    def test_cache(self, home):
        fill(home / "cache" / "minigrad" / "fashion-mnist")
        assert first_label(fashion_mnist("test", download=False)) == 7
        with pytest.raises(FileNotFoundError):
            mnist("test", download=False)

    @pytest.mark.parametrize(
        "platform, folder", [("linux", ".cache"), ("darwin", ".cache"), ("win32", "AppData/Local")]
    )
    def test_cache_in_the_home_folder(self, home, monkeypatch, platform, folder):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(Path, "home", lambda: home)
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.delenv("LOCALAPPDATA")
        fill(home / folder / "minigrad" / "mnist")
        assert first_label(mnist("test", download=False)) == 7

    def test_root_then_data_folder_then_cache(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fill(home / "cache" / "minigrad" / "mnist", labels=np.full(3, 3, np.uint8))
        assert first_label(mnist("test", download=False)) == 3
        fill(home / "data" / "mnist", labels=np.full(3, 2, np.uint8))
        assert first_label(mnist("test", download=False)) == 2
        fill(home / "root", labels=np.full(3, 1, np.uint8))
        assert first_label(mnist("test", root=home / "root", download=False)) == 1

    def test_root_excludes_the_others(self, home):
        fill(home / "cache" / "minigrad" / "mnist")
        with pytest.raises(FileNotFoundError):
            mnist("test", root=home / "root", download=False)

    def test_both_files_come_from_one_folder(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fill(home / "data" / "mnist", labels=np.full(3, 2, np.uint8))
        fill(home / "cache" / "minigrad" / "mnist", labels=np.full(3, 3, np.uint8))
        (home / "data" / "mnist" / f"{IMAGES_NAME}.gz").unlink()
        assert first_label(mnist("test", download=False)) == 3


class TestRefusing:
    def test_missing_files_are_named_with_their_folder_and_the_ways_out(self, home, monkeypatch):
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        with pytest.raises(FileNotFoundError) as caught:
            fashion_mnist("test", download=False)
        message = str(caught.value)
        folder, cache = home / "data" / "fashion-mnist", home / "cache/minigrad/fashion-mnist"
        assert f"Fashion-MNIST's test split is not in {folder} or {cache}" in message
        assert f"Put {IMAGES_NAME}.gz and {LABELS_NAME}.gz into the folder {folder}" in message
        for word in (
            "download=False",
            "fashion_mnist(root=...)",
            "MINIGRAD_DATA",
            "http://fashion",
        ):
            assert word in message

    def test_only_what_is_missing_is_named(self, home):
        (fill(home / "here") / f"{LABELS_NAME}.gz").unlink()
        with pytest.raises(FileNotFoundError, match=f"Put {LABELS_NAME}.gz into"):
            mnist("test", root=home / "here", download=False)

    @pytest.mark.parametrize(
        "images, labels, complaint",
        [
            (IMAGES[:, :27], LABELS, r"images.*shape \(N, 28, 28\).*shape \(3, 27, 28\)"),
            (IMAGES[0], LABELS, r"images.*shape \(28, 28\)"),
            (IMAGES[:0], LABELS[:0], r"images.*N > 0.*shape \(0, 28, 28\)"),
            (LABELS, LABELS, r"images.*shape \(3,\)"),
            (IMAGES, IMAGES, r"labels.*shape \(3,\).*shape \(3, 28, 28\)"),
            (IMAGES, LABELS[:2], r"labels.*one for each image of t10k-images.*shape \(2,\)"),
            (IMAGES, LABELS + 1, "labels.*0 to 9, but holds 10"),
        ],
    )
    def test_files_that_hold_something_else(self, home, images, labels, complaint):
        fill(home / "here", np.ascontiguousarray(images), labels)
        with pytest.raises(ValueError, match=complaint):
            mnist("test", root=home / "here")

    def test_other_types(self, home):
        content = bytearray(encode(LABELS))
        content[2] = 0x09
        (fill(home / "here", zipped=False) / LABELS_NAME).write_bytes(content)
        with pytest.raises(ValueError, match=r"labels.*must hold uint8.*but holds int8"):
            mnist("test", root=home / "here")

    def test_damaged_files_are_named_and_not_replaced(self, home):
        path = fill(home / "here") / f"{IMAGES_NAME}.gz"
        path.write_bytes(path.read_bytes()[:-20])
        before = path.read_bytes()
        with pytest.raises(ValueError, match=f"{IMAGES_NAME}.gz is not a sound IDX file"):
            mnist("test", root=home / "here")
        assert path.read_bytes() == before


FILES = {
    f"{IMAGES_NAME}.gz": gzip.compress(encode(IMAGES), mtime=0),
    f"{LABELS_NAME}.gz": gzip.compress(encode(LABELS), mtime=0),
}


@pytest.fixture
def publish(tmp_path_factory, monkeypatch):
    """Have both data sets published in a folder that holds the files named, and return its address."""

    def publish(*names):
        folder = tmp_path_factory.mktemp("mirror")
        for name in names:
            (folder / name).write_bytes(FILES[name])
        address = f"{folder.as_uri()}/"
        files = {
            name: (len(content), hashlib.sha256(content).hexdigest())
            for name, content in FILES.items()
        }
        for name in ("_MNIST", "_FASHION_MNIST"):
            changed = dataclasses.replace(getattr(module, name), mirrors=(address,), files=files)
            monkeypatch.setattr(module, name, changed)
        return address

    return publish


class TestDownloading:
    def test_into_root(self, home, publish, monkeypatch):
        publish(*FILES)
        images, labels = mnist("test", root=home / "a" / "b")
        np.testing.assert_array_equal(labels, LABELS)
        assert images.shape == (3, 28, 28)
        assert everything_under(home) == sorted(FILES)
        for name, content in FILES.items():
            assert (home / "a" / "b" / name).read_bytes() == content
        monkeypatch.setattr(source, "fetch", None)
        mnist("test", root=home / "a" / "b")

    def test_into_the_data_folder(self, home, publish, monkeypatch):
        publish(*FILES)
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fashion_mnist("test")
        assert sorted(os.listdir(home / "data" / "fashion-mnist")) == sorted(FILES)
        assert everything_under(home) == sorted(FILES)

    def test_into_the_cache(self, home, publish):
        publish(*FILES)
        mnist("test")
        assert sorted(os.listdir(home / "cache" / "minigrad" / "mnist")) == sorted(FILES)
        assert everything_under(home) == sorted(FILES)

    def test_only_what_is_missing(self, home, publish):
        publish(f"{LABELS_NAME}.gz")
        (fill(home / "here", zipped=False) / LABELS_NAME).unlink()
        assert first_label(mnist("test", root=home / "here")) == 7
        assert everything_under(home) == [IMAGES_NAME, f"{LABELS_NAME}.gz"]

    def test_not_unless_allowed(self, home, publish):
        publish(*FILES)
        with pytest.raises(FileNotFoundError):
            mnist("test", root=home / "here", download=False)
        assert not (home / "here").exists()

    def test_a_failure_names_the_ways_out(self, home, publish):
        address, folder = publish(), home / "cache" / "minigrad" / "mnist"
        with pytest.raises(ConnectionError) as caught:
            mnist("test")
        message = str(caught.value)
        assert f"MNIST's {IMAGES_NAME}.gz could not be downloaded:\n  {address}: <url" in message
        assert f"Put {IMAGES_NAME}.gz and {LABELS_NAME}.gz into the folder {folder}" in message
        assert "mnist(root=...)" in message and "MINIGRAD_DATA" in message
        assert str(caught.value.__cause__) in message
        assert not folder.exists()

    def test_what_arrived_before_the_failure_is_kept(self, home, publish):
        publish(f"{IMAGES_NAME}.gz")
        with pytest.raises(ConnectionError, match=f"Put {LABELS_NAME}.gz into the folder"):
            mnist("test", root=home)
        assert everything_under(home) == [f"{IMAGES_NAME}.gz"]
