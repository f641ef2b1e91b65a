"""ONNX files: graphs written for other programs, and other programs' graphs read as modules."""
