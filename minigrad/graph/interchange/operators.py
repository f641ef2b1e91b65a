"""The operators that are read, each a function of the file's inputs and attributes under ONNX's names.

Positional parameters are the inputs: Tensors, or what the annotation says, ``Vector`` or ``Scalar``, whose values are
read on the host. What is an attribute in one version of an operator and an input in another has one parameter for both.
``opset``, the version, and ``room`` are filled in by the reader. Types and numbers of inputs and the attributes that a
version has are checked before, against onnx's own schemas.

``room(shape, dtype, work)`` refuses what would take too much memory or time, before it does. An operator that does not
ask for it makes nothing larger than the largest of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .operators_elementwise import ELEMENTWISE
from .operators_layers import LAYERS
from .operators_shape import SHAPES
from .operators_windows import WINDOWS

OPERATORS: dict[str, Callable[..., Any]] = {**ELEMENTWISE, **SHAPES, **LAYERS, **WINDOWS}
#: how many outputs those have that have several; batch norm only in training mode
OUTPUTS = {"BatchNormalization": 3, "Dropout": 2, "LayerNormalization": 3}
