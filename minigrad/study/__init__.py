"""Tools to look into a network: gradient checks."""

from .gradcheck import GradientError, gradcheck

__all__ = ["GradientError", "gradcheck"]
