"""DLPack: memory shared with NumPy, PyTorch and JAX, seen by writing into it and by its address."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import strict
from helpers import equal, refuses

import minigrad as mg
from minigrad import dlpack, optim
from minigrad.kernels import pool

DTYPES = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]
#: values of an array that begins at a page (``kernels.pool``): JAX shares what begins at a multiple of 64 bytes
LARGE = 2**16


@pytest.fixture(scope="module")
def jnp():
    return pytest.importorskip("jax.numpy")


def address(t):
    return t._data.ctypes.data


class TestNumPy:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_both_ways(self, dtype):
        theirs = np.zeros((2, 3), dtype)
        ours = mg.from_dlpack(theirs)
        again = np.from_dlpack(ours)
        assert (ours.dtype, ours.shape, ours.backend) == (dtype, (2, 3), "numpy")
        assert address(ours) == theirs.ctypes.data == again.ctypes.data
        theirs[0, 1] = 1
        assert ours.numpy()[0, 1] == again[0, 1] == 1

    def test_views_and_layouts(self):
        base = np.arange(24.0).reshape(4, 6)
        for view in (
            base.T,
            base[::2, 1::3],
            base[::-1],
            np.array(3.0),
            base[:0],
            np.asfortranarray(base),
        ):
            ours = mg.from_dlpack(view)
            equal(ours, view)
            equal(ours * 2, view * 2)

    def test_memory_outlives_its_tensor(self):
        """Also memory of the pool, which is used again when nobody holds it."""
        x = mg.full(LARGE, 3.0, backend="numpy") * 1
        theirs = np.from_dlpack(x)
        del x
        gc.collect()
        mg.full(LARGE, 4.0, backend="numpy") * 1
        assert (theirs == 3).all()


class TestTorch:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_both_ways(self, torch, dtype):
        theirs = torch.zeros(2, 3, dtype=getattr(torch, dtype))
        ours = mg.from_dlpack(theirs)
        again = torch.from_dlpack(ours)
        assert ours.dtype == dtype and again.dtype == theirs.dtype
        assert address(ours) == theirs.data_ptr() == again.data_ptr()
        theirs[1, 2] = 1
        assert ours.numpy()[1, 2] == again[1, 2] == 1

    def test_an_update_is_seen_there(self, torch):
        theirs = torch.ones(3, dtype=torch.float64)
        p = mg.from_dlpack(theirs)
        p.requires_grad = True
        optimizer = optim.SGD([p], lr=0.25)
        (p**2).sum().backward()
        optimizer.step()
        assert theirs.tolist() == [0.5] * 3

    def test_a_gradient_is_not_lost_silently(self, torch):
        theirs = torch.ones(3, requires_grad=True)
        with refuses(BufferError, "detach()"):
            mg.from_dlpack(theirs)
        x = mg.ones(3, requires_grad=True, backend="numpy")
        for t in (x, x * 2):
            with refuses(BufferError, "__dlpack__: a tensor that requires a gradient"):
                torch.from_dlpack(t)
        assert torch.from_dlpack(x.detach()).data_ptr() == address(x)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
    def test_dtypes_that_numpy_lacks(self, torch, dtype):
        theirs = torch.ones(3).to(getattr(torch, dtype))
        with refuses(TypeError, f"from_dlpack: numpy can't hold torch.{dtype}"):
            mg.from_dlpack(theirs)

    def test_complex_numbers(self, torch):
        with refuses(TypeError, "expected numbers, got complex64"):
            mg.from_dlpack(torch.ones(3, dtype=torch.complex64))


class TestJax:
    def test_both_ways(self, jnp):
        theirs = jnp.arange(float(LARGE))
        ours = mg.from_dlpack(theirs)
        assert address(ours) == theirs.unsafe_buffer_pointer()
        y = mg.Tensor(pool.empty((LARGE,), np.float32))
        y.data = np.arange(float(LARGE)).astype("f")
        back = jnp.from_dlpack(y)
        assert back.unsafe_buffer_pointer() == address(y)
        assert back[LARGE - 1] == LARGE - 1

    def test_its_memory_is_never_written_to(self, jnp):
        theirs = jnp.ones((300, 300))
        p = mg.from_dlpack(theirs)
        with refuses(ValueError, "data: this tensor shares memory that must not be written to"):
            p.data = np.zeros((300, 300), "f")
        with refuses(ValueError, "data: this tensor shares memory that must not be written to"):
            p.load(np.zeros((300, 300), "f"))
        p.requires_grad = True
        own = mg.ones(2, requires_grad=True, backend="numpy")
        for make in (optim.SGD, optim.Adam):
            with refuses(
                ValueError, "parameter 1 shares memory that must not be written to; copy it"
            ):
                make([own, p], lr=0.1)
        with refuses(ValueError, "read-only"):
            p.data[0] = 1
        assert (theirs == 1).all()

    def test_it_is_computed_with(self, jnp):
        """Forward, backward and captured; a cotangent in such memory is added to, elsewhere."""
        theirs, seed = jnp.full((300, 300), 2.0), jnp.ones((300, 300))
        x = mg.from_dlpack(theirs)
        x.requires_grad = True
        gy = mg.from_dlpack(seed)
        ((x + x) + (x + x)).backward(gy)
        (x * 1).backward(gy)
        equal(x.grad, np.full((300, 300), 5, "f"))
        y, mean, _ = mg.batch_norm(x.detach(), None, None)
        assert mean.numpy().max() == 2 and abs(y.numpy()).max() == 0
        graph = mg.capture(lambda x: mg.relu(x @ x) + 1, x.detach())
        for _ in range(3):
            equal(graph(x.detach()), np.full((300, 300), 1201, "f"))
        assert (theirs == 2).all() and (seed == 1).all()

    def test_a_copy_is_free(self, jnp):
        p = mg.tensor(mg.from_dlpack(jnp.ones(3)), requires_grad=True)
        (p**2).sum().backward()
        optim.SGD([p], lr=0.25).step()
        equal(p, np.full(3, 0.5, "f"))

    def test_bfloat16(self, jnp):
        with refuses(TypeError, "from_dlpack: numpy can't hold bfloat16"):
            mg.from_dlpack(jnp.ones(3, jnp.bfloat16))


class TestDevices:
    def test_no_silent_way_to_the_cpu(self):
        with strict.Device(2):
            t = mg.ones(3, backend="strict")
        assert t.__dlpack_device__() == (strict.EXTERNAL, 2)
        with pytest.raises(BufferError):
            np.from_dlpack(t)
        with refuses(TypeError, "of the CPU or a CUDA device, got DLPack's device type 12"):
            mg.from_dlpack(t)

    def test_memory_of_a_device_stays_there(self, monkeypatch):
        monkeypatch.setitem(dlpack._DLPACK, strict.EXTERNAL, "strict")
        with strict.Device(2):
            theirs = mg.ones(3, backend="strict")
        ours = mg.from_dlpack(theirs)
        assert (ours.backend, ours.device) == ("strict", 2)
        with strict.Device(2):
            theirs.data = theirs.data + 1
        equal(ours, [2, 2, 2])

    def test_keywords_go_to_the_array(self):
        t = mg.ones(3, backend="numpy")
        assert t.__dlpack_device__() == (1, 0)
        with refuses((RuntimeError, ValueError), "stream"):  # ValueError from NumPy 2.5 on
            t.__dlpack__(stream=1)


@pytest.mark.parametrize("value", [1.0, [1.0], None, "text"], ids=repr)
def test_what_has_no_dlpack(value):
    with refuses(
        TypeError,
        f"a tensor of PyTorch or an array of JAX, got {type(value).__name__}; minigrad.tensor copies",
    ):
        mg.from_dlpack(value)


def test_values_do_not_leave_a_capture_this_way():
    x = mg.ones(3, backend="numpy")
    with refuses(mg.CaptureError, ".__dlpack__() reads the values of a tensor"):
        mg.capture(lambda x: (np.from_dlpack(x * 2), x)[1], x)
