"""Graphs: computations captured as lists of ops, to be read, compared, changed and replayed."""

from .capturing import capture
from .graph import Call, Graph, Value
from .guards import CaptureError
from .interchange import from_onnx
from .jitting import Jit, jit

__all__ = ["Call", "CaptureError", "Graph", "Jit", "Value", "capture", "from_onnx", "jit"]
