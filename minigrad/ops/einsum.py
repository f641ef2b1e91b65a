"""Sums of products in Einstein's notation, as batched matrix products: ``"bik,bkj->bij"``.

Operands are contracted from left to right. Of two, the labels that both have are those of the batch, which are needed
later, or are summed; with the other labels of the first as rows and of the second as columns, that is one ``matmul``.
"""

from __future__ import annotations

import math
from typing import Any

from ..messages import not_a_tensor
from ..tensor import Tensor
from .linear import matmul
from .reduction import sum as summed
from .shape import reshape, transpose


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sum of products of the operands' elements over the labels that the output lacks.

    Parameters
    ----------
    equation : str
        A letter for each axis, commas between operands, and those of the output after ``->``. Without ``->`` the output
        has the labels that appear once, in alphabetical order.
    *operands : Tensor
        One or more, of one dtype.

    Raises
    ------
    ValueError
        If equation and operands don't fit; for ``...`` and for a label twice in one operand, which are not supported.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.einsum("ik,kj->ij", mg.ones((2, 3)), mg.ones((3, 2)))
    Tensor([[3., 3.],
            [3., 3.]])
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    for i, t in enumerate(operands):
        if not isinstance(t, Tensor):
            raise TypeError(f"einsum, operand {i}: {not_a_tensor(t)}")
    terms, output = _parsed(equation, [t.shape for t in operands])
    x, labels = operands[0], terms[0]
    for i, other in enumerate(operands[1:], 1):
        x, labels = _contracted(x, labels, other, terms[i], "".join([output, *terms[i + 1 :]]))
    x, labels = _only(x, labels, output)
    return transpose(x, [labels.index(label) for label in output]) if len(output) > 1 else x


def _parsed(equation: Any, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The labels of each operand, and of the output."""
    if not isinstance(equation, str):
        raise TypeError(f"einsum: expected an equation such as 'ik,kj->ij' first, got {equation!r}")
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms, letters = left.split(","), left.replace(",", "")
    if not arrow:
        output = "".join(sorted(label for label in letters if letters.count(label) == 1))
    wrong = ""
    if not (letters + output).isalpha() and letters + output:
        wrong = "expected letters, commas and '->'; '...' is not supported"
    elif [*map(len, terms)] != [*map(len, shapes)]:
        wrong = f"expected a letter for each axis of the shapes {', '.join(map(str, shapes))}"
    elif any(len(set(term)) < len(term) for term in (*terms, output)):
        wrong = "a label twice in one operand or in the output is not supported"
    elif set(output) - set(letters):
        wrong = f"expected each label of the output in an operand, got {output!r}"
    lengths: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=False):
        for label, n in zip(term, shape, strict=False):
            if not wrong and lengths.setdefault(label, n) != n:
                wrong = f"label {label!r} has the sizes {lengths[label]} and {n}"
    if wrong:
        raise ValueError(f"einsum {equation!r}: {wrong}")
    return terms, output


def _contracted(a: Tensor, la: str, b: Tensor, lb: str, later: str) -> tuple[Tensor, str]:
    """The product of two operands, summed over the labels that nothing ``later`` has; and its labels."""
    (a, la), (b, lb) = _only(a, la, lb + later), _only(b, lb, la + later)
    size = dict(zip(la + lb, a.shape + b.shape, strict=True))
    batch = "".join(label for label in la if label in lb and label in later)
    rows, columns = (
        "".join(n for n in own if n not in other) for own, other in ((la, lb), (lb, la))
    )
    inner = "".join(label for label in la if label in lb and label not in later)

    def matrices(x: Tensor, labels: str, *groups: str) -> Tensor:
        order = [labels.index(label) for group in groups for label in group]
        shape = [math.prod(size[label] for label in group) for group in groups]
        return reshape(transpose(x, order) if order else x, shape)

    y = matmul(matrices(a, la, batch, rows, inner), matrices(b, lb, batch, inner, columns))
    labels = batch + rows + columns
    return reshape(y, [size[label] for label in labels]), labels


def _only(x: Tensor, labels: str, kept: str) -> tuple[Tensor, str]:
    """x summed over the labels that are not among ``kept``; and its labels."""
    axes = tuple(i for i, label in enumerate(labels) if label not in kept)
    left = "".join(label for label in labels if label in kept)
    return (summed(x, axes) if axes else x), left
