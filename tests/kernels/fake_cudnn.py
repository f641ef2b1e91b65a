"""Stand-ins for CuPy and for the package ``cudnn``, so that cuDNN's convolutions run without a GPU, and strictly.

``Cupy`` is NumPy whose arrays know their address, as CuPy's do. ``Cudnn`` has the part of cuDNN's graph API that
``minigrad.kernels.cudnn`` uses, and no more: an unknown argument, a call out of order, a description that does not fit
or too little memory is an error. It gets addresses, so it sees of an array only what it was told about it.
"""

from __future__ import annotations

import ctypes
import math
from enum import Enum
from types import SimpleNamespace

import numpy as np


class Array(np.ndarray):
    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


class Cupy:
    """NumPy's functions, on Arrays; a device and a stream that a test may change."""

    def __init__(self):
        self.device, self.stream = 0, 7
        self.sizes = {}
        self.cuda = SimpleNamespace(
            Device=lambda: SimpleNamespace(id=self.device),
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream),
        )

    def __getattr__(self, name):
        function = getattr(np, name)
        return lambda *args, **kwargs: function(*args, **kwargs).view(Array)

    def empty(self, shape, dtype):
        array = np.full(shape, 99, dtype).view(Array)
        self.sizes[array.data.ptr] = array.nbytes
        return array


class NotSupported(Exception):
    pass


DataType = Enum("DataType", "HALF BFLOAT16 FLOAT DOUBLE")
Note = Enum(
    "Note", "TENSOR_CORE DOWN_CONVERT_INPUTS REDUCED_PRECISION_REDUCTION NONDETERMINISTIC WINOGRAD"
)
Mode = Enum("Mode", "A B FALLBACK")
DTYPES = {DataType.HALF: "f2", DataType.FLOAT: "f4", DataType.DOUBLE: "f8"}

#: by what heuristics propose them: an engine's notes, and the bytes of scratch memory it needs
ENGINES = {
    Mode.A: [
        ({Note.TENSOR_CORE}, 48),
        ({Note.NONDETERMINISTIC}, 0),
        ({Note.DOWN_CONVERT_INPUTS}, 0),
        ({Note.REDUCED_PRECISION_REDUCTION}, 0),
        (set(), 2**40),
    ],
    Mode.FALLBACK: [({Note.WINOGRAD}, 80)],
}


class Cudnn:
    """The package."""

    data_type, numerical_note, heur_mode = DataType, Note, Mode
    cudnnGraphNotSupportedError = NotSupported

    def __init__(self, cupy):
        self.cupy = cupy
        self.streams = {}
        self.begun = self.built = self.executed = 0
        self.supported = True

    def create_handle(self):
        handle = object()
        self.streams[handle] = 0, self.cupy.device
        return handle

    def set_stream(self, handle, stream):
        self.streams[handle] = stream, self.streams[handle][1]

    def pygraph(self, *, handle, io_data_type, intermediate_data_type, compute_data_type):
        self.begun += 1
        assert self.streams[handle][1] == self.cupy.device
        assert io_data_type is intermediate_data_type
        double = io_data_type is DataType.DOUBLE
        assert compute_data_type is (DataType.DOUBLE if double else DataType.FLOAT)
        return Graph(self, handle)


class Tensor:
    def __init__(self):
        self.uid = self.shape = self.strides = self.kind = None
        self.is_output = False

    def set_output(self, value):
        self.is_output = value
        return self

    def set_uid(self, uid):
        assert type(uid) is int and uid > 0
        self.uid = uid
        return self

    def set_data_type(self, kind):
        assert isinstance(kind, DataType)
        self.kind = kind
        return self

    def set_dim(self, dim):
        assert type(dim) is list and len(dim) == 4 and all(type(n) is int and n > 0 for n in dim)
        self.shape = dim
        return self

    def set_stride(self, stride):
        assert type(stride) is list and len(stride) == 4
        reach = sum((n - 1) * s for n, s in zip(self.shape, stride, strict=True)) + 1
        assert reach == math.prod(self.shape), "cuDNN takes no tensors with gaps"
        self.strides = stride
        return self

    def at(self, address):
        """The memory at an address, as it was described."""
        assert type(address) is int and address and address % 16 == 0
        dtype = np.dtype(DTYPES[self.kind])
        memory = (ctypes.c_char * (math.prod(self.shape) * dtype.itemsize)).from_address(address)
        strides = [s * dtype.itemsize for s in self.strides]
        return np.ndarray(self.shape, dtype, memory, strides=strides)


STEPS = (
    "tensors",
    "validate",
    "build_operation_graph",
    "create_execution_plans",
    "check_support",
    "build_plans",
)


class Graph:
    def __init__(self, cudnn, handle):
        self.cudnn, self.handle, self.step = cudnn, handle, 0
        self.tensors, self.operation, self.limit, self.notes = [], None, math.inf, set()

    def _after(self, step):
        """A step that has to come next, or a call that has to come right after one."""
        assert STEPS[self.step] == step, f"after {STEPS[self.step]}, expected after {step}"

    def tensor(self, *, dim, stride, data_type, uid):
        self._after("tensors")
        new = Tensor().set_uid(uid).set_dim(dim).set_stride(stride).set_data_type(data_type)
        self.tensors.append(new)
        return new

    def _convolution(self, kind, a, b, pre_padding, post_padding, stride, dilation):
        settings = pre_padding, post_padding, stride, dilation
        assert all(type(s) is list and len(s) == 2 for s in settings)
        assert min(pre_padding + post_padding) >= 0 and min(stride + dilation) >= 1
        assert self.operation is None and [a, b] == self.tensors
        self.operation = kind, settings
        self.tensors.append(Tensor())
        return self.tensors[-1]

    def conv_fprop(self, image, weight, *, pre_padding, post_padding, stride, dilation):
        return self._convolution("y", image, weight, pre_padding, post_padding, stride, dilation)

    def conv_wgrad(self, image, loss, *, pre_padding, post_padding, stride, dilation):
        return self._convolution("w", image, loss, pre_padding, post_padding, stride, dilation)

    def conv_dgrad(self, loss, filter, *, pre_padding, post_padding, stride, dilation):
        return self._convolution("x", loss, filter, pre_padding, post_padding, stride, dilation)

    def roles(self, values):
        """Values of the operands and the result, as x, w and y."""
        return {"y": "xwy", "w": "xyw", "x": "ywx"}[self.operation[0]], values

    def validate(self):
        self._after("tensors")
        assert self.tensors[2].is_output
        assert len({t.uid for t in self.tensors}) == 3
        assert len({t.kind for t in self.tensors}) == 1
        of = dict(zip(*self.roles([t.shape for t in self.tensors]), strict=True))
        before, after, stride, dilation = self.operation[1]
        fits = [
            (n + p + q - (k - 1) * d - 1) // s + 1
            for n, k, p, q, s, d in zip(
                of["x"][2:], of["w"][2:], before, after, stride, dilation, strict=True
            )
        ]
        assert of["y"] == [of["x"][0], of["w"][0], *fits]
        assert of["x"][1] % of["w"][1] == 0 and of["w"][0] % (of["x"][1] // of["w"][1]) == 0
        self.step += 1

    def build_operation_graph(self):
        self._after("validate")
        self.step += 1

    def create_execution_plans(self, modes):
        self._after("build_operation_graph")
        if not self.cudnn.supported:
            raise NotSupported("no engine")
        self.engines = [engine for mode in modes for engine in ENGINES[mode]]
        self.step += 1

    def deselect_numeric_notes(self, notes):
        # Before there are engines it would do nothing, without saying so.
        self._after("create_execution_plans")
        assert all(isinstance(note, Note) for note in notes)
        self.notes |= set(notes)

    def deselect_workspace_greater_than(self, limit):
        self._after("create_execution_plans")
        self.limit = limit

    def check_support(self):
        self._after("create_execution_plans")
        self.engines = [e for e in self.engines if not e[0] & self.notes and e[1] <= self.limit]
        if not self.engines:
            raise NotSupported("no engine is left")
        self.step += 1

    def build_plans(self):
        self._after("check_support")
        self.engine = self.engines[0]
        self.cudnn.built += 1
        self.step += 1

    def get_workspace_size(self):
        self._after("build_plans")
        return self.engine[1]

    def execute(self, addresses, workspace, handle):
        self._after("build_plans")
        cupy, (notes, needed) = self.cudnn.cupy, self.engine
        assert handle is self.handle
        assert self.cudnn.streams[handle] == (cupy.stream, cupy.device)
        assert type(workspace) is int and cupy.sizes[workspace] >= needed
        ctypes.memset(workspace, 255, needed)
        assert notes <= {Note.TENSOR_CORE, Note.WINOGRAD}, "an engine that is not wanted"
        *operands, result = (t.at(addresses.pop(t.uid)) for t in self.tensors)
        assert not addresses
        values = [v.astype("f8") for v in operands]
        if Note.TENSOR_CORE in notes and result.dtype == "f4":
            values = [to_tf32(v) for v in operands]
        names, arrays = self.roles([*values, result])
        of = dict(zip(names, arrays, strict=True))
        result[...] = convolution(self.operation, of["x"], of["w"], of["y"])
        self.cudnn.executed += 1


def to_tf32(x):
    """Float32 numbers with 10 bits of mantissa, in float64."""
    return (x.view("u4") & np.uint32(0xFFFFE000)).view("f4").astype("f8")


def convolution(operation, x, w, y):
    """One of x, w and y from the other two, place by place of the window."""
    wanted, (before, after, stride, dilation) = operation
    (n, c, *size), (o, per_group, *kernel), out = x.shape, w.shape, y.shape[2:]
    groups = c // per_group
    frame = [(p, q) for p, q in zip(before, after, strict=True)]
    padded = np.pad(np.zeros_like(x) if wanted == "x" else x, [(0, 0), (0, 0), *frame])
    padded = padded.reshape(n, groups, per_group, *padded.shape[2:]).astype("f8")
    w = w.reshape(groups, o // groups, per_group, *kernel)
    y = y.reshape(n, groups, o // groups, *out)
    found_w, found_y = np.zeros(w.shape), np.zeros(y.shape)
    for i, j in np.ndindex(*kernel):
        down, right = (
            slice(at * d, at * d + (m - 1) * s + 1, s)
            for at, d, m, s in zip((i, j), dilation, out, stride, strict=True)
        )
        seen = padded[..., down, right]
        if wanted == "y":
            found_y += np.einsum("ngchw,goc->ngohw", seen, w[..., i, j])
        elif wanted == "w":
            found_w[..., i, j] = np.einsum("ngchw,ngohw->goc", seen, y)
        else:
            seen += np.einsum("ngohw,goc->ngchw", y, w[..., i, j])
    if wanted == "y":
        return found_y.reshape(n, o, *out)
    if wanted == "w":
        return found_w.reshape(o, per_group, *kernel)
    top, left = before
    return padded.reshape(n, c, *padded.shape[3:])[:, :, top : top + size[0], left : left + size[1]]
