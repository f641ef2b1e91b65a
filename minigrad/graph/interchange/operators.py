"""What is read: for each operator of ONNX its function, which is its schema too; see ``schema``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .operators_elementwise import ELEMENTWISE
from .operators_layers import LAYERS
from .operators_shape import SHAPES

OPERATORS: dict[str, Callable[..., Any]] = {**ELEMENTWISE, **SHAPES, **LAYERS}
#: how many outputs are read of those that have several; None for any number
OUTPUTS: dict[str, int | None] = {"BatchNormalization": 3, "Dropout": 2, "Split": None}
