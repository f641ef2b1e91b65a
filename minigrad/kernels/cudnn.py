"""2-D convolution by cuDNN, through its graph API (the package nvidia-cudnn-frontend), for CuPy arrays.

A convolution and its two gradients are graphs of one operation each. cuDNN's heuristics say which engines to try, in
order; those that round more than the dtype does, or that add in no fixed order, are struck off, and the first of the
rest that builds is the plan. Nothing is timed: the same call takes the same plan every time, and gives the same bits.

The plans were built by cuDNN 9.28 for descriptions of GPUs from Volta to Blackwell; none has run on a GPU yet.
"""

from __future__ import annotations

import warnings
from functools import cache, lru_cache
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple

from .convolution import ConvolutionKernels, Pair, Window
from .halves import half
from .tf32 import tf32_allowed

Array = Any
Shape = tuple[int, ...]

#: by the dtype of arrays: what cuDNN calls it, and what it adds in
TYPES = {
    "float16": ("HALF", "FLOAT"),
    "bfloat16": ("BFLOAT16", "FLOAT"),
    "float32": ("FLOAT", "FLOAT"),
    "float64": ("DOUBLE", "DOUBLE"),
}
#: notes on engines that are not wanted: no fixed order of sums, inputs or sums of fewer bits than asked for
UNWANTED = ("NONDETERMINISTIC", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION")
#: bytes of scratch memory that a plan may ask for: without a bound, some want the size of all images once more
WORKSPACE = 2**30
#: bytes at whose multiples cuDNN takes memory to begin
ALIGNMENT = 16


class Operand(NamedTuple):
    """An array of four axes as cuDNN is told of it."""

    shape: Shape
    channels_last: bool

    @property
    def strides(self) -> list[int]:
        _, c, h, w = self.shape
        return [h * w * c, 1, w * c, c] if self.channels_last else [c * h * w, h * w, w, 1]


class Plan(NamedTuple):
    """A graph whose engine is chosen, and the bytes of scratch memory that it needs."""

    graph: Any
    workspace: int


@cache
def load() -> ModuleType | None:
    """The package ``cudnn``, or None where it is not installed, or, with a warning, where it lacks cuDNN's library."""
    if find_spec("cudnn") is None:
        return None
    try:
        import cudnn  # type: ignore[import-not-found,unused-ignore]

        cudnn.backend_version()
    except (ImportError, OSError, RuntimeError) as error:
        warnings.warn(
            "convolutions run without cuDNN: nvidia-cudnn-frontend is installed, but finds no library of cuDNN 9 "
            f"({error}); install it with pip install nvidia-cudnn-cu13, or put its folder on LD_LIBRARY_PATH",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return cudnn


@lru_cache(maxsize=1024)
def plan(
    cudnn: Any,
    handle: Any,
    operation: str,
    dtype: str,
    window: Window,
    a: Operand,
    b: Operand,
    result: Operand,
    tensor_cores: bool,
) -> Plan | None:
    """How to compute ``result`` from a and b; None, as lasting an answer, where cuDNN has no way that is wanted."""
    kind, sums = (getattr(cudnn.data_type, name) for name in TYPES[dtype])
    graph = cudnn.pygraph(
        handle=handle, io_data_type=kind, intermediate_data_type=kind, compute_data_type=sums
    )
    operands = (
        graph.tensor(dim=list(x.shape), stride=x.strides, data_type=kind, uid=uid)
        for uid, x in enumerate((a, b), 1)
    )
    y = getattr(graph, operation)(
        *operands,
        pre_padding=[before for before, _ in window.padding],
        post_padding=[after for _, after in window.padding],
        stride=list(window.stride),
        dilation=list(window.dilation),
    )
    y.set_output(True).set_uid(3).set_data_type(kind)
    y.set_dim(list(result.shape)).set_stride(result.strides)
    unwanted = UNWANTED if tensor_cores else (*UNWANTED, "TENSOR_CORE")
    try:
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.deselect_numeric_notes([getattr(cudnn.numerical_note, note) for note in unwanted])
        graph.deselect_workspace_greater_than(WORKSPACE)
        graph.check_support()
        graph.build_plans()
    except cudnn.cudnnGraphNotSupportedError:
        return None
    return Plan(graph, graph.get_workspace_size())


@cache
def handle_of(cudnn: Any, device: int) -> Any:
    """cuDNN's state on a device, which has to be the current one."""
    return cudnn.create_handle()


#: held while a handle is used: it serves one thread at a time, on the stream that was named last
_lock = Lock()


class CudnnConvolution(ConvolutionKernels):
    """Convolutions by cuDNN where it has a plan, and as the next class in line makes them where it has none."""

    #: the package, as ``load`` finds it; None turns this class off
    cudnn: Any = None

    def conv2d(self, x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
        shape = len(x), len(weight), *window.output_size(x.shape[2:])
        # The bias would be added to what is rounded already.
        rounds_early = bias is not None and half(x.dtype)
        y = None
        if not rounds_early:
            y = self._convolve("conv_fprop", x, weight, Operand(shape, True), window)
        if y is None:
            return super().conv2d(x, weight, bias, window)
        if bias is not None:
            y += bias.reshape(-1, 1, 1)
        return y

    def conv2d_weight_grad(self, x: Array, gy: Array, window: Window) -> Array:
        shape = gy.shape[1], x.shape[1] // window.groups, *window.size
        g = self._convolve("conv_wgrad", x, gy, Operand(shape, False), window)
        return super().conv2d_weight_grad(x, gy, window) if g is None else g

    def conv2d_input_grad(self, gy: Array, weight: Array, window: Window, size: Pair) -> Array:
        shape = len(gy), weight.shape[1] * window.groups, *size
        gx = self._convolve("conv_dgrad", gy, weight, Operand(shape, True), window)
        return super().conv2d_input_grad(gy, weight, window, size) if gx is None else gx

    def _convolve(
        self, operation: str, a: Array, b: Array, result: Operand, window: Window
    ) -> Array | None:
        """The result of an operation, or None if cuDNN does not do it."""
        if self.cudnn is None or not (a.size and b.size):
            return None
        (a, first), (b, second) = _described(a), _described(b)
        handle = handle_of(self.cudnn, self.xp.cuda.Device().id)
        tensor_cores = a.dtype.name != "float32" or tf32_allowed()
        settings = operation, a.dtype.name, window, first, second, result, tensor_cores
        with _lock:
            found = plan(self.cudnn, handle, *settings)
            if found is None:
                return None
            n, c, h, w = result.shape
            if result.channels_last:
                y = self.xp.empty((n, h, w, c), a.dtype).transpose(0, 3, 1, 2)
            else:
                y = self.xp.empty(result.shape, a.dtype)
            workspace = self.xp.empty(found.workspace, "uint8")
            # Addresses, not DLPack capsules: asked for one, CuPy makes the default stream wait, which a stream that is
            # being captured refuses.
            addresses = {1: a.data.ptr, 2: b.data.ptr, 3: y.data.ptr}
            self.cudnn.set_stream(handle, self.xp.cuda.get_current_stream().ptr)
            found.graph.execute(addresses, workspace.data.ptr, handle)
        return y


def _described(x: Array) -> tuple[Array, Operand]:
    """An array and its description; of a copy, where it has gaps or begins where cuDNN's arrays don't."""
    rows = x.transpose(0, 2, 3, 1)
    channels_last = rows.flags.c_contiguous
    if x.data.ptr % ALIGNMENT or not (channels_last or x.flags.c_contiguous):
        return rows.copy().transpose(0, 3, 1, 2), Operand(x.shape, True)
    return x, Operand(x.shape, channels_last)
