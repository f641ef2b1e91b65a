"""What batch norm layers do beyond Algorithms 1 and 2: masks and weights, other statistics, variants."""

from .hooks import Hooks, collecting_statistics, forward, hold_statistics, merging_statistics

__all__ = [
    "Hooks",
    "collecting_statistics",
    "forward",
    "hold_statistics",
    "merging_statistics",
]
