"""Kernels for NumPy arrays: what differs from the generic ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from .generic import Kernels


class NumpyKernels(Kernels):
    """The CPU kernels."""

    def sigmoid(self, x: Any) -> Any:
        # exp overflows to inf below -88 in float32, and 1 / inf is the 0 that is wanted.
        with np.errstate(over="ignore"):
            return super().sigmoid(x)
