"""What writing and reading share: the onnx package, the versions, and the numbers that stand for dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

#: what is written: the operator set and the file format of ONNX 1.16 (2024), which ONNX Runtime knows from 1.18 on
OPSET, IR_VERSION = 21, 10
#: what is read: before 7 the rules of broadcasting were others; what comes after 28 nobody has seen
OPSETS_READ = range(7, 29)
#: a protobuf message is smaller than this, and so is all that stands in one
MOST_BYTES = 2**31 - 1

#: onnx.TensorProto.DataType of the dtypes that a Tensor can have
NUMBERS = {
    np.dtype(name): number
    for name, number in {
        "float32": 1,
        "uint8": 2,
        "int8": 3,
        "uint16": 4,
        "int16": 5,
        "int32": 6,
        "int64": 7,
        "bool": 9,
        "float16": 10,
        "float64": 11,
        "uint32": 12,
        "uint64": 13,
    }.items()
}
DTYPES = {number: dtype for dtype, number in NUMBERS.items()}


def library() -> Any:
    """The onnx package; ImportError, with what to do, if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'ONNX files need the onnx package: install it with pip install "minigrad[onnx]"'
        ) from error
    return onnx
