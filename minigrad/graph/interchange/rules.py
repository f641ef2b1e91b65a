"""How each op is written: for its class, a function of the writer and the step, which names what it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .rules_elementwise import ELEMENTWISE
from .rules_layers import LAYERS
from .rules_norm import NORMS
from .rules_shape import SHAPES

RULES: dict[type, Callable[..., Any]] = {**ELEMENTWISE, **SHAPES, **LAYERS, **NORMS}
