"""Launching the loss kernels."""

from __future__ import annotations

from typing import Any

from . import THREADS, TYPES, Kernel, LaunchedKernels

Array = Any

CROSS_ENTROPY = Kernel("loss.cu", "cross_entropy")
CROSS_ENTROPY_GRADIENT = Kernel("loss.cu", "cross_entropy_gradient")
WEIGHTED_SUM = Kernel("loss.cu", "weighted_sum")

LABELS = {
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned",
    "uint64": "unsigned long long",
}


class LossKernels(LaunchedKernels):
    """Softmax cross-entropy. A label that is no class is told later, see ``Faults``; it moves nothing until then."""

    def softmax_cross_entropy(
        self, logits: Array, labels: Array, weight: float | None
    ) -> tuple[Array, Array]:
        self.faults.check()
        logits, labels = self.given(logits), self.given(labels)
        rows, classes = logits.shape
        losses = self.xp.empty(rows, logits.dtype)
        probabilities = self.xp.empty(logits.shape, logits.dtype)
        type_, label = TYPES[logits.dtype.name], LABELS[labels.dtype.name]
        grid, lanes = _rows(rows, classes)
        arrays = logits, labels, losses, probabilities, *self.faults.pointers
        if logits.size:
            self.launch(CROSS_ENTROPY, (type_, label), grid, (*arrays, rows, classes, lanes))
        if weight is None:
            return losses, probabilities
        loss = self.xp.empty((), logits.dtype)
        self.launch(WEIGHTED_SUM, (type_,), (1,), (losses, loss, rows, float(weight)))
        return loss, probabilities

    def softmax_cross_entropy_grad(
        self, probabilities: Array, labels: Array, gy: Array, weight: float | None
    ) -> Array:
        p, labels, gy = self.given(probabilities), self.given(labels), self.given(gy)
        g = self.xp.empty(p.shape, p.dtype)
        rows, classes = p.shape
        grid, lanes = _rows(rows, classes)
        numbers = rows, classes, lanes, int(weight is None), float(1 if weight is None else weight)
        parameters = TYPES[p.dtype.name], LABELS[labels.dtype.name]
        if p.size:
            self.launch(CROSS_ENTROPY_GRADIENT, parameters, grid, (p, labels, gy, g, *numbers))
        return g


def _rows(rows: int, classes: int) -> tuple[tuple[int], int]:
    """Blocks, and the rows that each has: as many threads for a row as there are classes, about."""
    lanes = max(THREADS >> (classes - 1).bit_length(), 1)
    return (-(-rows // lanes),), lanes
