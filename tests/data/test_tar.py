"""The tar reader: exact on sound archives, and a clear ValueError, at little cost, on all others."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minigrad.data.tar import read_members

SIZE = 600  # more than one block, and no multiple of it
NAMES = ["folder/a.bin", "folder/b.bin"]
CONTENTS = {"folder/a.bin": bytes(range(200)) * 3, "folder/b.bin": b"b" * SIZE}
LIMIT = 1 << 20
MEBIBYTE = 1 << 20
END = bytes(1024)
FORMATS = {"USTAR": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "PAX": tarfile.PAX_FORMAT}


def member(name, size=0, mtime=0):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, mtime
    return info


def resum(block):
    """The header with its checksum made right."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def put(block, at, value):
    """The header with other bytes at a place, and the checksum right."""
    return resum(block[:at] + value + block[at + len(value) :])


def header(name, size=0, kind=b"0"):
    return put(member(name, size).tobuf(tarfile.GNU_FORMAT), 156, kind)


def entry(name, content, kind=b"0"):
    return header(name, len(content), kind) + content + bytes(-len(content) % 512)


def pack(contents=CONTENTS, end=END):
    return b"".join(entry(*item) for item in contents.items()) + end


A, B = (entry(*item) for item in CONTENTS.items())


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tar") / "archive.tar.gz"


@pytest.fixture(scope="module")
def read(path):
    """Read a tar archive, gzipped first."""

    def read(archive, names=NAMES, limit=LIMIT):
        path.write_bytes(gzip.compress(archive, 1, mtime=0))
        return dict(read_members(path, names, SIZE, limit))

    return read


@pytest.fixture(scope="module")
def survives(read, path):
    """Nothing but a ValueError that names the archive comes of it, or the contents given."""

    def survives(archive, contents):
        try:
            assert read(archive) == contents
        except ValueError as error:
            assert str(path) in str(error)

    return survives


class TestSound:
    @pytest.mark.parametrize("dialect", FORMATS.values(), ids=FORMATS)
    @given(
        order=st.permutations([*NAMES, "folder/other.txt", "é" * 40, "folder/c.bin"]),
        prefix=st.sampled_from(["x/", "./", "long/" * 20]),
        mtime=st.sampled_from([0, 1.5]),
        content=st.binary(min_size=SIZE, max_size=SIZE),
    )
    @settings(max_examples=30, deadline=None)
    def test_what_the_standard_library_writes(self, read, dialect, order, prefix, mtime, content):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=dialect) as file:
            for name in order:
                data = content if name == NAMES[0] else bytes(SIZE)
                file.addfile(member(name, SIZE, mtime), io.BytesIO(data))
                # The same name in another folder is another name.
                file.addfile(member(prefix + name, 1, mtime), io.BytesIO(b"!"))
        assert read(archive.getvalue()) == {NAMES[0]: content, NAMES[1]: bytes(SIZE)}

    def test_in_the_order_of_the_archive(self, path):
        path.write_bytes(gzip.compress(pack(dict(reversed(CONTENTS.items()))), mtime=0))
        assert list(read_members(str(path), NAMES, SIZE, LIMIT)) == [*reversed(CONTENTS.items())]

    def test_only_what_is_asked_for(self, read):
        assert read(pack(), NAMES[1:]) == {NAMES[1]: CONTENTS[NAMES[1]]}

    @pytest.mark.parametrize(
        ("at", "value"),
        [(156, b"\0"), (124, b"%11o " % SIZE), (124, b"%12o" % SIZE), (257, bytes(8))],
        ids=["type", "size with spaces", "size without an end", "no magic"],
    )
    def test_old_archives(self, read, at, value):
        assert read(put(A[:512], at, value) + A[512:] + B + END) == CONTENTS

    def test_names_in_other_encodings(self, read):
        assert read(put(header("x"), 0, "é".encode("latin-1")) + pack()) == CONTENTS

    def test_a_prefix_belongs_to_the_name_in_posix_archives_only(self, read):
        changed = put(A[:512], 345, b"prefix")  # in GNU's the place of a time
        assert read(changed + A[512:] + B + END) == CONTENTS
        changed = put(changed, 257, b"ustar\x0000")
        with pytest.raises(ValueError, match=r"it has no folder/a\.bin"):
            read(changed + A[512:] + B + END)
        name = f"prefix/{NAMES[0]}"
        assert read(changed + A[512:] + END, [name]) == {name: CONTENTS[NAMES[0]]}

    def test_the_limit_is_the_size(self, read):
        archive = pack()
        assert read(archive, limit=len(archive)) == CONTENTS
        with pytest.raises(ValueError, match="more than blocks of zeros"):
            read(archive, limit=len(archive) - 1)


class TestRefusing:
    @pytest.mark.parametrize(
        ("archive", "complaint"),
        [
            pytest.param(b"", "ends too early", id="nothing"),
            pytest.param(END, "it has no folder/a.bin and no folder/b.bin", id="empty"),
            pytest.param(B + END, "it has no folder/a.bin", id="one missing"),
            pytest.param(A + B, "ends too early", id="no end"),
            pytest.param(A + B[:-1], "ends too early", id="cut in the padding"),
            pytest.param(A + B[:600], "ends too early", id="cut in a content"),
            pytest.param(A + B[:511], "ends too early", id="cut in a header"),
            pytest.param(A + A + B + END, "it holds folder/a.bin twice", id="twice"),
            pytest.param(pack(end=END + b"x"), "more than blocks of zeros follow", id="appended"),
            pytest.param(pack() + B, "more than blocks of zeros follow", id="another archive"),
            pytest.param(
                entry(NAMES[0], bytes(599)) + B + END,
                "folder/a.bin in it must have 600 bytes, but has 599",
                id="short",
            ),
            pytest.param(
                entry(NAMES[0], bytes(601)) + B + END,
                "folder/a.bin in it must have 600 bytes, but has 601",
                id="long",
            ),
            pytest.param(
                header(NAMES[0], 8**11 - 1) + B + END, "but has 8589934591", id="lying size"
            ),
            pytest.param(
                put(A[:512], 124, b"-0000001130\0") + A[512:] + END,
                "must hold an octal number where it holds b'-0000001130",
                id="negative size",
            ),
            pytest.param(put(A[:512], 124, b"\x80") + END, "must hold an octal number", id="8 GiB"),
            pytest.param(A[:148] + bytes(8) + A[156:], "must hold an octal", id="no checksum"),
            pytest.param(b"b" + A[1:], "checksum of a header in it is wrong", id="other name"),
            pytest.param(header("x", 8**11 - 1) + END, "ends too early", id="skip to nowhere"),
        ],
    )
    def test_the_complaint_says_what_is_wrong_and_where(self, read, path, archive, complaint):
        with pytest.raises(ValueError, match=complaint) as caught:
            read(archive)
        assert str(path) in str(caught.value) and "intact copy" in str(caught.value)

    @pytest.mark.parametrize("kind", list("12345SxgL"))
    @pytest.mark.parametrize("content", [b"", CONTENTS[NAMES[0]]], ids=["empty", "full"])
    def test_only_regular_files(self, read, kind, content):
        with pytest.raises(ValueError, match=r"folder/a\.bin in it must be a regular file"):
            read(entry(NAMES[0], content, kind.encode()) + B + END)

    @pytest.mark.parametrize(
        "content",
        [b"", b"\x1f", b"PK\3\4" + bytes(600), pack(), gzip.compress(pack(), mtime=0)[:-9]],
        ids=["nothing", "a byte", "zip", "not gzipped", "cut"],
    )
    def test_no_whole_gzip(self, path, content):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"archive.tar.gz is not a sound archive"):
            list(read_members(path, NAMES, SIZE, LIMIT))

    def test_a_missing_file_stays_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            list(read_members(tmp_path / "missing", NAMES, SIZE, LIMIT))


class TestAnything:
    @given(archive=st.binary(max_size=2048))
    @settings(max_examples=100, deadline=None)
    @example(bytes(512))
    def test_arbitrary_bytes(self, read, archive):
        with pytest.raises(ValueError, match="is not a sound archive"):
            read(archive)

    @given(
        fields=st.lists(st.tuples(st.integers(0, 511), st.binary(max_size=12)), max_size=4),
        place=st.sampled_from([0, 512 + 1024]),
    )
    @settings(max_examples=300, deadline=None)
    @example([(124, b"\xff" * 12)], 0)  # how GNU writes -1
    @example([(124, b"00000000000\0")], 0)
    @example([(0, b"../../" + bytes(6))], 0)
    @example([(345, b"../../")], 0)
    def test_arbitrary_headers_with_a_good_checksum(self, survives, fields, place):
        archive = pack()
        block = archive[place : place + 512]
        for at, value in fields:
            block = put(block, at, value)[:512]
        survives(archive[:place] + resum(block) + archive[place + 512 :], CONTENTS)

    @given(data=st.data())
    @settings(max_examples=200, deadline=None)
    def test_one_byte_changed(self, survives, data):
        archive = bytearray(pack())
        archive[data.draw(st.integers(0, len(archive) - 1))] ^= data.draw(st.integers(1, 255))
        # The contents have no checksum of their own in a tar archive, but in the gzip.
        starts = {NAMES[0]: 512, NAMES[1]: 512 + 1024 + 512}
        survives(bytes(archive), {name: archive[at : at + SIZE] for name, at in starts.items()})

    @given(data=st.data())
    @settings(max_examples=100, deadline=None)
    def test_one_byte_of_the_gzip_changed(self, path, data):
        content = bytearray(gzip.compress(pack(), mtime=0))
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            assert dict(read_members(path, NAMES, SIZE, LIMIT)) == CONTENTS
        except ValueError as error:
            assert str(path) in str(error)

    @given(kept=st.integers(0, 4096))
    @settings(max_examples=50, deadline=None)
    def test_truncated(self, read, kept):
        archive = pack()
        if kept < 2 * (512 + 1024) + 512:  # one block of zeros is an end
            with pytest.raises(ValueError, match="ends too early"):
                read(archive[:kept])
        else:
            assert read(archive[:kept]) == CONTENTS


LARGE = 32 * MEBIBYTE
BOMBS = {
    "file": (header("x", LARGE), "not have more than 1048576 bytes unzipped"),
    "pax header": (header("x", LARGE, b"x"), "not have more than 1048576 bytes unzipped"),
    "long name": (header("x", LARGE, b"L"), "not have more than 1048576 bytes unzipped"),
    "end": (END, "more than blocks of zeros follow its end"),
}


@pytest.mark.parametrize(("start", "complaint"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_costs_no_memory_and_no_more_time_than_allowed(path, start, complaint):
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(pack(end=start) + bytes(LARGE) + END)
    tracemalloc.start()
    try:
        assert dict(read_members(path, NAMES, SIZE, LARGE + MEBIBYTE)) == CONTENTS
        with pytest.raises(ValueError, match=complaint):
            list(read_members(path, NAMES, SIZE, MEBIBYTE))
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()
