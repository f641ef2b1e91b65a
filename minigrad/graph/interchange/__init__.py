"""ONNX files: graphs written for other programs, and other programs' graphs read as modules."""

from .model import OnnxModel, from_onnx

__all__ = ["OnnxModel", "from_onnx"]
