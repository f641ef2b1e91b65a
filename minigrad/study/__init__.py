"""Tools to study a network: gradient checks, backprop through batch norm step by step, and the train/eval gap."""

from .forms import batch_norm_forms
from .gap import gap
from .gradcheck import GradientError, gradcheck
from .grading import grade
from .hints import hints
from .invariants import invariants
from .jacobian import jacobian
from .lesson import check_step
from .paths import AblatedBatchNorm, ablated_batch_norm, batch_norm_paths

__all__ = [
    "AblatedBatchNorm", "GradientError", "ablated_batch_norm", "batch_norm_forms", "batch_norm_paths", "check_step",
    "gap", "grade", "gradcheck", "hints", "invariants", "jacobian",
]  # fmt: skip
