"""save and load: every array comes back as it was, and a file is never half there."""

from __future__ import annotations

import os
import re
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import files, nn

pytestmark = pytest.mark.usefixtures("backend")
safetensors = pytest.importorskip("safetensors.numpy")

DTYPES = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def same(loaded, expected):
    assert loaded.keys() == expected.keys()
    for name, a in expected.items():
        np.testing.assert_array_equal(loaded[name], a, err_msg=name, strict=True)


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0,), (2, 0)])
    def test_dtypes_and_shapes(self, path, rng, dtype, shape):
        array = rng.uniform(0, 9, shape).astype(dtype)
        mg.save(path, {"array": array, "tensor": mg.tensor(array)})
        same(mg.load(path), {"array": array, "tensor": array})

    @pytest.mark.parametrize(
        "array",
        [
            np.arange(12).reshape(3, 4).T,
            np.asfortranarray(np.arange(12.0).reshape(3, 4)),
            np.arange(12)[::-3],
            np.broadcast_to(np.float32(1), (2, 3)),
            np.array([1.5, np.nan, np.inf, -0.0]),
        ],
        ids=["transposed", "fortran", "strided", "broadcast", "special"],
    )
    def test_layouts(self, path, array):
        mg.save(path, {"x": array})
        same(mg.load(path), {"x": array})

    def test_byte_order(self, path):
        mg.save(path, {"x": np.arange(3, dtype=">i4")})
        same(mg.load(path), {"x": np.arange(3, dtype=np.int32)})

    def test_scalars(self, path):
        mg.save(path, {"x": np.float64(0.5), "n": np.int64(3)})
        same(mg.load(path), {"x": np.array(0.5), "n": np.array(3)})

    def test_nothing(self, path):
        mg.save(path, {})
        assert mg.load(path) == {}

    def test_path_as_string(self, path):
        mg.save(str(path), {"x": np.ones(2)})
        same(mg.load(str(path)), {"x": np.ones(2)})

    def test_results_can_be_written_to(self, path):
        mg.save(path, {"x": np.ones(2)})
        loaded = mg.load(path)["x"]
        loaded += 1
        np.testing.assert_array_equal(loaded, [2, 2])

    def test_others_can_read_it(self, path):
        state = nn.BatchNorm(3).state_dict()
        mg.save(path, state)
        same(safetensors.load_file(path), state)

    def test_training_goes_on_on_another_backend(self, path, backend):
        def train(net, optimizer, x, steps):
            for _ in range(steps):
                optimizer.zero_grad()
                (net(x) ** 2).mean().backward()
                optimizer.step()

        def build(seed):
            # A bias before batch norm has no gradient but noise, which Adam would make as large as any other.
            rng = np.random.default_rng(seed)
            net = nn.Sequential(nn.Linear(3, 4, bias=False, rng=rng), nn.BatchNorm(4))
            return net, mg.optim.Adam(net.parameters())

        other = "numpy" if backend != "numpy" else "strict"
        x = mg.tensor(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
        net, optimizer = build(1)
        train(net, optimizer, x, 3)
        states = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
        mg.save(path, {f"{part}.{k}": a for part, s in states.items() for k, a in s.items()})
        train(net, optimizer, x, 3)

        mg.set_backend(other)
        resumed, its_optimizer = build(2)
        loaded = mg.load(path)
        for part, object_ in (("net", resumed), ("optimizer", its_optimizer)):
            prefix = f"{part}."
            object_.load_state_dict(
                {k.removeprefix(prefix): a for k, a in loaded.items() if k.startswith(prefix)}
            )
        train(resumed, its_optimizer, x.to(other), 3)
        assert resumed[0].weight.backend == other
        for name, a in net.state_dict().items():
            np.testing.assert_allclose(resumed.state_dict()[name], a, rtol=1e-5, atol=1e-6)


class TestWriting:
    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize(
        ("owner", "name"), [(files.os, "replace"), (files.os, "fsync"), (safetensors, "save")]
    )
    def test_a_failure_leaves_the_old_file(self, path, monkeypatch, there, owner, name):
        def fail(*args):
            raise OSError("disk full")

        if there:
            mg.save(path, {"x": np.ones(2)})
        before = [p.read_bytes() for p in path.parent.iterdir()]
        monkeypatch.setattr(owner, name, fail)
        with pytest.raises(OSError, match="disk full"):
            mg.save(path, {"x": np.zeros(3)})
        assert [p.read_bytes() for p in path.parent.iterdir()] == before
        assert len(before) == there

    @pytest.mark.parametrize(
        ("state", "error", "message"),
        [
            ({1: np.ones(2)}, TypeError, "names to be strings, got 1"),
            (
                {"x": [1.0, 2.0]},
                TypeError,
                "'x' to be a Tensor or a NumPy array of numbers, got list",
            ),
            ({"x": 1.0}, TypeError, "numbers, got float"),
            ({"x": None}, TypeError, "numbers, got None"),
            ({"x": np.array(["a"])}, TypeError, "numbers, got <U1"),
            ({"x": np.array([None])}, TypeError, "numbers, got object"),
            ({"x": np.ones(2, complex)}, TypeError, "numbers, got complex128"),
            ({"__metadata__": np.ones(2)}, ValueError, "the name '__metadata__'"),
        ],
    )
    def test_what_cannot_be_saved(self, path, state, error, message):
        with pytest.raises(error, match=message):
            mg.save(path, {"good": np.ones(2), **state})
        assert os.listdir(path.parent) == []

    def test_no_folder_is_made(self, path):
        with pytest.raises(FileNotFoundError):
            mg.save(path.parent / "absent" / path.name, {})

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
    def test_permissions_are_those_of_any_new_file(self, path):
        before = os.umask(0o027)
        try:
            mg.save(path, {})
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o640


class TestReading:
    def test_missing(self, path):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
            mg.load(path)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:-1],
            lambda content: content[:20],
            lambda content: content + b"!",
            lambda content: b"",
            lambda content: b"\x80\x04K\x01.",
            lambda content: b"\xff" * 100,
            lambda content: content.replace(b"F32", b"XYZ"),
            lambda content: content.replace(b'"F32","shape":[2]', b'"BF16","shape":[4]'),
        ],
        ids=["end", "header", "longer", "empty", "pickle", "garbage", "dtype", "bfloat16"],
    )
    def test_damaged(self, path, damage):
        mg.save(path, {"x": np.ones(2, np.float32)})
        before = path.read_bytes()
        path.write_bytes(damage(before))
        assert path.read_bytes() != before
        with pytest.raises(
            ValueError, match=f"^{re.escape(str(path))} is not a complete safetensors"
        ):
            mg.load(path)


@pytest.mark.parametrize("call", [lambda path: mg.save(path, {}), mg.load], ids=["save", "load"])
def test_without_safetensors(path, monkeypatch, call):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'pip install "minigrad\[checkpoints\]"'):
        call(path)
    assert os.listdir(path.parent) == []
