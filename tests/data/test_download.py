"""fetch: the right bytes from the first mirror that has them, whatever the others answer."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import types
from importlib.machinery import ModuleSpec

import pytest

from minigrad.data import download

CONTENT = bytes(range(256)) * 300  # longer than one chunk
SIZE = len(CONTENT)
fetch = functools.partial(
    download.fetch, "file.gz", size=SIZE, sha256=hashlib.sha256(CONTENT).hexdigest()
)

#: the ways to fail, each a folder of the server, and what is said of them
FAILURES = {
    "absent": "HTTP Error 404",
    "garbled": "no HTTP at all",
    "altered": "expected a file of SHA-256 [0-9a-f]{64}, but [0-9a-f]{64} came",
    "longer": f"expected {SIZE} bytes, but the answer went on after them",
    "endless": f"expected {SIZE} bytes, but the answer went on after them",
    "interrupted": f"expected {SIZE} bytes, but the answer ended after 20",
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        folder = self.path.split("/")[1]
        self.server.asked.append(self.path)
        if folder == "absent":
            return self.send_error(404)
        if folder == "garbled":
            self.wfile.write(b"no HTTP at all\r\n")
            return None
        body, length = {
            "good": (CONTENT, SIZE),
            "altered": (CONTENT[:-1] + b"!", SIZE),
            "longer": (CONTENT + b"!", SIZE + 1),
            "endless": (CONTENT * 3, None),
            "interrupted": (CONTENT[:20], SIZE),
        }[folder]
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *args):
        pass


class Server(http.server.HTTPServer):
    def handle_error(self, request, client_address):
        """An answer that nobody reads to its end is no error here."""


@pytest.fixture(scope="module")
def running_server():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running_server, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    running_server.asked = []
    return running_server


@pytest.fixture
def mirror(server):
    """The address of one of the server's folders, or of a port where nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        closed = listener.getsockname()[1]

    def mirror(folder):
        port = closed if folder == "closed" else server.server_port
        return f"http://127.0.0.1:{port}/{folder}/"

    return mirror


def test_the_first_good_mirror_is_enough(server, mirror):
    assert fetch([mirror("good"), mirror("absent")]) == CONTENT
    assert server.asked == ["/good/file.gz"]


@pytest.mark.parametrize("bad", [*FAILURES, "closed"])
def test_another_mirror_stands_in(mirror, bad):
    assert fetch([mirror(bad), mirror("good")]) == CONTENT


@pytest.mark.parametrize(("bad", "reason"), FAILURES.items())
def test_bad_answers_are_refused(mirror, bad, reason):
    with pytest.raises(ConnectionError, match=f"/{bad}/: .*{reason}") as caught:
        fetch([mirror(bad)])
    assert str(caught.value.__cause__) in str(caught.value)


def test_every_mirror_is_named_with_its_reason(mirror):
    mirrors = [mirror("closed"), mirror("absent")]
    with pytest.raises(ConnectionError) as caught:
        fetch(mirrors)
    first, *others = str(caught.value).splitlines()
    assert first == "file.gz could not be downloaded:"
    assert others[0].startswith(f"  {mirrors[0]}: <urlopen error")
    assert others[1].startswith(f"  {mirrors[1]}: HTTP Error 404")
    assert len(others) == 2


def test_a_silent_server_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConnectionError, match="timed out"),
    ):
        fetch([f"http://127.0.0.1:{silent.getsockname()[1]}/"])


class Bar:
    """As much of tqdm as a download uses."""

    def __init__(self, shown, **options):
        self.options, self.count, self.closed = options, 0, False
        shown.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.closed = True

    def update(self, count):
        self.count += count


@pytest.fixture
def bars(monkeypatch):
    shown = []
    tqdm = types.ModuleType("tqdm")
    tqdm.__spec__, tqdm.tqdm = ModuleSpec("tqdm", None), functools.partial(Bar, shown)
    monkeypatch.setitem(sys.modules, "tqdm", tqdm)
    return shown


def test_one_line_without_tqdm(mirror, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fetch([mirror("good")])
    assert capsys.readouterr() == ("", f"minigrad: downloading {mirror('good')}file.gz (0.1 MB)\n")


def test_a_bar_with_tqdm(mirror, bars, capsys):
    fetch([mirror("good")])
    (bar,) = bars
    assert (bar.options["desc"], bar.options["total"]) == ("file.gz", SIZE)
    assert bar.count == SIZE and bar.closed
    assert capsys.readouterr() == ("", "")


def test_a_longer_answer_is_not_read_to_its_end(mirror, bars):
    with pytest.raises(ConnectionError):
        fetch([mirror("endless")])
    (bar,) = bars
    assert bar.count == SIZE + 1 and bar.closed


def test_minigrad_alone_imports_no_network():
    check = (
        "import sys, minigrad; print(*{'http.client', 'tqdm', 'urllib.request'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
