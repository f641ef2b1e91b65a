"""mnist() and fashion_mnist(): where they look, what they refuse, how they download."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import importlib
import os
import socket
import struct
import sys
import threading
import types
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

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
            name, content = f"{name}.gz", gzip.compress(content)
        (folder / f"{prefix}-{name}").write_bytes(content)
    return folder


def first_label(pair):
    return int(pair[1][0])


def everything_under(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test sees this machine's cache, data folder or proxy."""
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
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
        monkeypatch.setattr(module.sys, "platform", platform)
        monkeypatch.setattr(module.Path, "home", lambda: home)
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
        with pytest.raises(ValueError, match="labels.*must hold uint8.*but holds int8"):
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


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve FILES under /good/; every other folder is a way to fail."""

    def do_GET(self):
        _, folder, name = self.path.split("/")
        self.server.asked.append(self.path)
        if folder == "absent" or (folder == "half" and name.startswith(LABELS_NAME)):
            return self.send_error(404)
        if folder == "garbled":
            self.wfile.write(b"no HTTP at all\r\n")
            return None
        content = FILES[name]
        length = len(content)
        if folder == "altered":
            content = content[:-1] + bytes([content[-1] ^ 1])
        elif folder == "longer":
            content, length = content + b"!", length + 1
        elif folder == "endless":
            content, length = content * 3, None
        elif folder == "interrupted":
            content = content[:20]
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running_server():
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running_server):
    running_server.asked = []
    return running_server


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def publish(server, monkeypatch):
    """Have both data sets published at folders of the server, or at whole addresses."""

    def publish(*mirrors):
        address = "http://127.0.0.1:{}/{}/"
        mirrors = tuple(
            mirror if "://" in mirror else address.format(server.server_port, mirror)
            for mirror in mirrors
        )
        files = {
            name.partition("-idx")[0]: (len(content), hashlib.sha256(content).hexdigest())
            for name, content in FILES.items()
        }
        for name in ("_MNIST", "_FASHION_MNIST"):
            source = dataclasses.replace(getattr(module, name), mirrors=mirrors, files=files)
            monkeypatch.setattr(module, name, source)

    return publish


class TestDownloading:
    def test_into_root(self, home, publish, server):
        publish("good")
        images, labels = mnist("test", root=home / "a" / "b")
        np.testing.assert_array_equal(labels, LABELS)
        assert images.shape == (3, 28, 28)
        assert everything_under(home) == sorted(FILES)
        for name, content in FILES.items():
            assert (home / "a" / "b" / name).read_bytes() == content
        mnist("test", root=home / "a" / "b")
        assert server.asked == [f"/good/{name}" for name in FILES]

    def test_into_the_data_folder(self, home, publish, monkeypatch):
        publish("good")
        monkeypatch.setenv("MINIGRAD_DATA", str(home / "data"))
        fashion_mnist("test")
        assert sorted(os.listdir(home / "data" / "fashion-mnist")) == sorted(FILES)
        assert everything_under(home) == sorted(FILES)

    def test_into_the_cache(self, home, publish):
        publish("good")
        mnist("test")
        assert sorted(os.listdir(home / "cache" / "minigrad" / "mnist")) == sorted(FILES)
        assert everything_under(home) == sorted(FILES)

    def test_only_what_is_missing(self, home, publish, server):
        publish("good")
        (fill(home / "here", zipped=False) / LABELS_NAME).unlink()
        mnist("test", root=home / "here")
        assert server.asked == [f"/good/{LABELS_NAME}.gz"]

    def test_not_unless_allowed(self, home, publish, server):
        publish("good")
        with pytest.raises(FileNotFoundError):
            mnist("test", root=home / "here", download=False)
        assert server.asked == [] and not (home / "here").exists()

    @pytest.mark.parametrize(
        "bad", ["absent", "garbled", "altered", "longer", "endless", "interrupted", "closed"]
    )
    def test_the_second_mirror_stands_in(self, home, publish, bad, closed_port):
        publish(f"http://127.0.0.1:{closed_port}/" if bad == "closed" else bad, "good")
        np.testing.assert_array_equal(mnist("test", root=home)[1], LABELS)
        assert everything_under(home) == sorted(FILES)

    @pytest.mark.parametrize(
        "bad, reason",
        [
            ("absent", "404"),
            ("garbled", "no HTTP at all"),
            ("altered", "expected a file of SHA-256 [0-9a-f]{64}, but [0-9a-f]{64} came"),
            ("longer", "expected [0-9]+ bytes, but the answer went on after them"),
            ("endless", "expected [0-9]+ bytes, but the answer went on after them"),
            ("interrupted", "expected [0-9]+ bytes, but the answer ended after 20"),
        ],
    )
    def test_bad_answers_leave_nothing_behind(self, home, publish, bad, reason):
        publish(bad)
        with pytest.raises(ConnectionError, match=f"/{bad}/: .*{reason}") as caught:
            mnist("test", root=home)
        assert caught.value.__cause__ is not None
        assert everything_under(home) == []

    def test_offline(self, home, publish, closed_port):
        mirrors = [f"http://127.0.0.1:{closed_port}/{folder}/" for folder in ("one", "two")]
        publish(*mirrors)
        with pytest.raises(ConnectionError) as caught:
            mnist("test")
        message, folder = str(caught.value), home / "cache" / "minigrad" / "mnist"
        assert f"MNIST's {IMAGES_NAME}.gz could not be downloaded" in message
        assert all(f"{mirror}: <urlopen error" in message for mirror in mirrors)
        assert f"Put {IMAGES_NAME}.gz and {LABELS_NAME}.gz into the folder {folder}" in message
        assert "mnist(root=...)" in message and "MINIGRAD_DATA" in message
        assert isinstance(caught.value.__cause__, OSError)
        assert not folder.exists()

    def test_what_arrived_before_the_failure_is_kept(self, home, publish):
        publish("half")
        with pytest.raises(ConnectionError, match=f"Put {LABELS_NAME}.gz into the folder"):
            mnist("test", root=home)
        assert everything_under(home) == [f"{IMAGES_NAME}.gz"]

    def test_a_silent_server_is_not_waited_for(self, home, publish, monkeypatch):
        monkeypatch.setattr(module, "_TIMEOUT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            publish(f"http://127.0.0.1:{silent.getsockname()[1]}/")
            with pytest.raises(ConnectionError, match="timed out"):
                mnist("test", root=home)

    @pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_an_interrupted_write_leaves_nothing_behind(
        self, home, publish, monkeypatch, call, error
    ):
        def fail(*args):
            raise error

        publish("good")
        monkeypatch.setattr(module.os, call, fail)
        with pytest.raises(type(error)) as caught:
            mnist("test", root=home)
        assert caught.value is error
        assert everything_under(home) == []

    def test_the_disk_is_written_before_the_file_appears(self, home, publish, monkeypatch):
        publish("good")
        synced = []
        replace = os.replace
        monkeypatch.setattr(module.os, "fsync", synced.append)

        def check(part, path):
            assert len(synced) == 1 + everything_under(home).count(f"{IMAGES_NAME}.gz")
            assert part.parent == path.parent
            assert part.read_bytes() == FILES[path.name]
            replace(part, path)

        monkeypatch.setattr(module.os, "replace", check)
        mnist("test", root=home)
        assert everything_under(home) == sorted(FILES)


class Bar:
    """As much of tqdm as a download uses."""

    shown: list[Bar] = []

    def __init__(self, **options):
        self.options, self.count, self.closed = options, 0, False
        self.shown.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.closed = True

    def update(self, count):
        self.count += count


@pytest.fixture
def bars(monkeypatch):
    tqdm = types.ModuleType("tqdm")
    tqdm.__spec__, tqdm.tqdm = ModuleSpec("tqdm", None), Bar
    monkeypatch.setitem(sys.modules, "tqdm", tqdm)
    monkeypatch.setattr(Bar, "shown", [])
    return Bar.shown


class TestProgress:
    def test_one_line_a_file_without_tqdm(self, home, publish, monkeypatch, capsys):
        publish("good")
        monkeypatch.setitem(sys.modules, "tqdm", None)
        mnist("test", root=home)
        out, err = capsys.readouterr()
        assert out == ""
        for line, name in zip(err.splitlines(), FILES, strict=True):
            assert line.startswith("minigrad: downloading http://") and name in line

    def test_a_bar_a_file_with_tqdm(self, home, publish, bars, capsys):
        publish("good")
        mnist("test", root=home)
        assert [bar.options["desc"] for bar in bars] == list(FILES)
        assert [bar.options["total"] for bar in bars] == [len(body) for body in FILES.values()]
        assert all(bar.count == bar.options["total"] and bar.closed for bar in bars)
        assert capsys.readouterr().err == ""

    def test_a_longer_answer_is_not_read_to_its_end(self, home, publish, bars):
        publish("endless")
        with pytest.raises(ConnectionError):
            mnist("test", root=home)
        assert [bar.count for bar in bars] == [bars[0].options["total"] + 1]
        assert bars[0].closed

    def test_tqdm_is_not_imported_for_files_at_hand(self, home, monkeypatch):
        monkeypatch.setattr(module, "import_module", None)
        monkeypatch.setattr(module, "find_spec", None)
        mnist("test", root=fill(home / "here"))
