"""ONNX files: export of captured graphs, and import of models as modules.

``export`` has one rule per op of minigrad, ``operators`` one function per ONNX operator, ``model`` validates a file and
runs its operators. The onnx package is optional, so it is imported inside functions only.
"""

from typing import Any

import numpy as np

#: exported: operator set and file format of ONNX 1.16 (2024), supported by ONNX Runtime from 1.18 on
OPSET, IR_VERSION = 21, 10
#: the maximum size of a protobuf message
MOST_BYTES = 2**31 - 1
#: dtypes by the numbers of ``onnx.TensorProto.DataType`` that stand for them
DTYPES = {9: np.dtype(bool), 10: np.dtype(np.float16), 11: np.dtype(np.float64)}
DTYPES |= dict(enumerate(map(np.dtype, ("f4", "u1", "i1", "u2", "i2", "i4", "i8")), start=1))
DTYPES |= {12: np.dtype(np.uint32), 13: np.dtype(np.uint64)}
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


def library() -> Any:
    """Import the onnx package; ImportError, saying how to install it, if it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            'ONNX files need the onnx package: install it with pip install "minigrad-bn[onnx]"'
        ) from error
    return onnx
