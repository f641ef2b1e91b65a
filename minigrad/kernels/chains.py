"""Chains: elementwise operations on arrays of one shape, one after the other, as one kernel.

A step is the name of an operation and what it takes: i is the i-th array; the results of the steps, in order, are
numbered after the arrays. The last step's result is the chain's.
"""

from __future__ import annotations

Steps = tuple[tuple[str, tuple[int, ...]], ...]

#: what may be a step, by the numbers that the compiled kernels know them by; 0 is none
CODES = {
    name: code
    for code, name in enumerate(
        ("add", "subtract", "multiply", "divide", "negative")
        + ("relu", "relu_grad", "sigmoid", "sigmoid_grad"),
        start=1,
    )
}
#: arrays and steps of a chain together, at most: what a row of a program has words for
ROOM = 24


def packed(steps: Steps) -> list[int]:
    """Each step as one whole number."""
    return [CODES[name] | taken[0] << 8 | taken[-1] << 16 for name, taken in steps]
