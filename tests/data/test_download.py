"""Downloads with pooch from the first mirror with the right bytes; failures of all kinds."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from importlib import import_module

import numpy as np
import pytest
from data.shared import IMAGES, IMAGES_NAME, LABELS, LABELS_NAME, encode, fill, first
from helpers import refuses

from minigrad.data import mnist

FILES = {
    f"{name}.gz": gzip.compress(encode(array), mtime=0)
    for name, array in {IMAGES_NAME: IMAGES, LABELS_NAME: LABELS}.items()
}
IMAGES_FILE, LABELS_FILE = FILES

#: the ways to fail, each a folder of the server, and words of the reason
FAILURES = {
    "absent": "404 Client Error",
    "garbled": "Connection aborted",
    "altered": "does not match the known hash",
    "longer": "does not match the known hash",
    "interrupted": "IncompleteRead",
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, folder, name = self.path.split("/")
        content = FILES[name]
        if folder == "absent" or (folder == "half" and name == LABELS_FILE):
            self.send_error(404)
        elif folder == "garbled":
            self.wfile.write(b"no HTTP at all\r\n")
        else:
            answers = {
                "altered": content[:-1] + b"!",
                "longer": content + b"!",
                "interrupted": content[:20],
            }
            self.send_response(200)
            if folder == "interrupted":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(answers.get(folder, content))

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("pooch", reason='needs pooch: pip install "minigrad-bn[data]"')
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(address, monkeypatch):
    """Have MNIST published in these folders of the server, and return their addresses."""
    module = import_module("minigrad.data.mnist")  # the attribute of that name is the function
    monkeypatch.setenv("no_proxy", "*")

    def publish(*folders):
        mirrors = tuple(f"{address}/{folder}/" for folder in folders)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
        changed = dataclasses.replace(module._MNIST, mirrors=mirrors, hashes=hashes)
        monkeypatch.setattr(module, "_MNIST", changed)
        return mirrors

    return publish


@pytest.mark.parametrize("mirrors", [["good"], *([bad, "good"] for bad in FAILURES)], ids=str)
def test_into_root(home, publish, mirrors):
    """Another mirror replaces one that fails; existing files are not downloaded again."""
    publish(*mirrors)
    folder = home / "a" / "b"
    for _ in range(2):
        np.testing.assert_array_equal(mnist("test", root=folder)[1], LABELS)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
        publish("absent")


@pytest.mark.parametrize("data", [None, "data"])
def test_into_the_first_folder(home, publish, monkeypatch, data):
    publish("good")
    if data:
        monkeypatch.setenv("MINIGRAD_DATA", str(home / data))
    mnist("test")
    folder = home / (data or "cache/minigrad") / "mnist"
    assert set(os.listdir(folder)) == set(FILES)
    if os.name == "posix":  # as readable as their folder
        modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert modes == {folder.stat().st_mode & 0o666}


def test_only_what_is_missing_and_only_if_allowed(home, publish):
    publish("good")
    (fill(home / "here", zipped=False) / LABELS_NAME).unlink()
    with pytest.raises(FileNotFoundError):
        first(root=home / "here")
    mnist("test", root=home / "here")
    assert set(os.listdir(home / "here")) == {IMAGES_NAME, LABELS_FILE}


@pytest.mark.parametrize(("bad", "reason"), FAILURES.items())
def test_failures(home, publish, bad, reason):
    """Each mirror is named with its reason, and then what to do; nothing of a bad file is kept."""
    one, other = publish(bad, "absent")
    with pytest.raises(ConnectionError) as caught:
        mnist("test", root=home / "here")
    message = str(caught.value)
    assert f"MNIST's {IMAGES_FILE} could not be downloaded:\n  {one}: " in message
    assert reason in message and f"\n  {other}: 404 Client Error" in message
    assert f"put {IMAGES_FILE} and {LABELS_FILE} into the folder {home / 'here'}" in message
    assert os.listdir(home / "here") == []


def test_what_arrived_before_the_failure_is_kept(home, publish):
    publish("half")
    with refuses(ConnectionError, f"MNIST's {LABELS_FILE} could not be downloaded"):
        mnist("test", root=home / "here")
    assert os.listdir(home / "here") == [IMAGES_FILE]


def test_without_pooch(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with refuses(ImportError, 'MNIST is downloaded with pooch: install it with pip install "minig'):
        mnist("test")
    assert first(root=fill(home / "here")) == 7


def test_minigrad_alone_imports_no_network():
    check = "import sys, minigrad; print(*{'pooch', 'requests', 'http.client', 'tqdm'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
