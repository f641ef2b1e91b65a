"""How kernels are handed to CuPy, on a stand-in for it; that CuPy has what is asked for, where it is installed."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from minigrad.kernels.cuda import OPTIONS, THREADS, Kernel, NotRecorded
from minigrad.kernels.cupy import CupyLauncher

SIGMOID = Kernel("elementwise.cu", "activation")
PARAMETERS = ("float", 4, "Sigmoid")


class CUDARuntimeError(RuntimeError):
    pass


class FakeCupy:
    """Notes what is done with it, as ``done``."""

    def __init__(self):
        self.done = []
        self.number = 0
        self.runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            cudaDevAttrMultiProcessorCount=16,
            deviceGetAttribute=lambda kind, device: self.done.append((kind, device)) or 132,
            getDevice=lambda: self.number,
        )
        self.cuda = SimpleNamespace(
            runtime=self.runtime,
            Stream=lambda non_blocking: FakeStream(self, non_blocking),
            MemoryPool=lambda: SimpleNamespace(malloc="of its own"),
            using_allocator=self._allocating,
            alloc_pinned_memory=lambda size: Pinned(size),
        )

    def RawModule(self, code, options, name_expressions):
        self.done.append(("compiled", name_expressions))
        assert "__global__" in code and "#include" not in code and options == OPTIONS

        def get_function(name):
            assert (name,) == name_expressions
            return lambda grid, block, args: self.done.append((name, grid, block, args))

        return SimpleNamespace(get_function=get_function)

    @contextmanager
    def _allocating(self, allocator):
        self.done.append(("from", allocator))
        try:
            yield
        finally:
            self.done.append(("back from", allocator))


class FakeStream:
    def __init__(self, cupy, non_blocking):
        assert non_blocking
        self.cupy, self.capturing = cupy, False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        assert not self.capturing

    def begin_capture(self):
        self.capturing = True
        self.cupy.done.append("begin")

    def end_capture(self):
        assert self.capturing
        self.capturing = False
        self.cupy.done.append("end")
        return SimpleNamespace(launch=lambda: self.cupy.done.append("launch"))


class Pinned(bytearray):
    ptr = 4096


def test_a_kernel_is_compiled_once_for_its_parameters():
    cupy = FakeCupy()
    launch = CupyLauncher(cupy)
    for _ in range(2):
        launch(SIGMOID, PARAMETERS, (7,), ("x", "y", 3))
    launch(SIGMOID, ("double", 2, "Relu"), (1,), ())
    name = "activation<float, 4, Sigmoid>"
    run = (name, (7,), (THREADS,), ("x", "y", 3))
    assert cupy.done[:3] == [("compiled", (name,)), run, run]
    assert cupy.done[3] == ("compiled", ("activation<double, 2, Relu>",))


def test_multiprocessors_are_asked_for_once_a_device():
    cupy = FakeCupy()
    launch = CupyLauncher(cupy)
    assert [launch.multiprocessors for _ in range(3)] == [132] * 3
    cupy.number = 1
    assert launch.multiprocessors == 132 and launch.device == 1
    assert cupy.done == [(16, 0), (16, 1)]


def test_a_recording_has_a_stream_and_memory_of_its_own():
    cupy = FakeCupy()
    result, replay = CupyLauncher(cupy).record(lambda: cupy.done.append("work") or 5)
    assert result == 5
    allocated = [("from", "of its own"), "begin", "work", "end", ("back from", "of its own")]
    assert cupy.done == allocated
    replay()
    assert cupy.done == [*allocated, "launch"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [(CUDARuntimeError("not permitted"), NotRecorded), (ValueError("labels"), ValueError)],
)
def test_what_fails_while_it_is_recorded(error, raised):
    """Whatever it is, the capture is ended; errors in values are those of an earlier kernel, and go on."""

    def work():
        raise error

    cupy = FakeCupy()
    with pytest.raises(raised, match=str(error)):
        CupyLauncher(cupy).record(work)
    assert cupy.done[-2:] == ["end", ("back from", "of its own")]


def test_shared_memory_begins_with_zeros():
    numbers, address = CupyLauncher(FakeCupy()).shared(3)
    assert numbers.dtype == np.int64 and numbers.tolist() == [0, 0, 0] and address == 4096
    numbers[1] = 2


def test_cupy_has_what_is_asked_for():
    cupy = pytest.importorskip("cupy")
    for name in ("Stream", "MemoryPool", "using_allocator", "alloc_pinned_memory", "Device"):
        assert hasattr(cupy.cuda, name)
    for name in ("begin_capture", "end_capture", "wait_event", "record", "synchronize"):
        assert hasattr(cupy.cuda.Stream, name)
    for name in ("getDevice", "deviceGetAttribute", "cudaDevAttrMultiProcessorCount"):
        assert hasattr(cupy.cuda.runtime, name)
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, Exception)
    assert hasattr(cupy.cuda.Graph, "launch")
    kernels = cupy.RawModule(
        code="template <class T> __global__ void f(T* x) {}",
        options=OPTIONS,
        name_expressions=("f<float>",),
    )
    assert hasattr(kernels, "get_function")


def test_whoever_has_an_arrays_memory_is_one_of_its_holders():
    """Views have a base or not, and the array's pointer or one of their own: see cupy.lib.stride_tricks.as_strided."""
    launch, memory = CupyLauncher(FakeCupy()), object()

    def pointer():
        return SimpleNamespace(mem=memory)

    array = SimpleNamespace(data=pointer())
    before = launch.holders(array)
    for make in (lambda: array, lambda: SimpleNamespace(data=array.data), pointer):
        held = make()
        assert launch.holders(array) == before + 1
        del held
        assert launch.holders(array) == before
