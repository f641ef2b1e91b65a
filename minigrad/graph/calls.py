"""What a graph is made of: values, and calls of ops that make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import by_type
from ..op import Op
from ..tape import Leaf
from ..tensor import Tensor


@dataclass(eq=False, slots=True)
class Value:
    """One array of a graph, known by its identity.

    Attributes
    ----------
    shape, dtype
        What it was when captured, and must be in every replay.
    kind : {"input", "state", "gradient", "constant", "result"}
        An argument of the call; a parameter, buffer or optimizer's tensor, bound by reference; the gradient that a
        leaf has before the call; numbers that stand in the program; what an op makes.
    name : str
        Of a parameter or buffer, dotted; of inputs and optimizer state too; empty where there is none.
    tensor : Tensor or None
        The tensor that is bound (state), or the numbers themselves (constant).
    leaf : Leaf or None
        Whose gradient it is.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str
    name: str = ""
    tensor: Tensor | None = None
    leaf: Leaf | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class Call:
    """One application of an op.

    Attributes
    ----------
    op : Op
    inputs : tuple of Value or None
    outputs : tuple of Value
        Empty for an op that writes into its first ``op.writes`` inputs.
    layer : str
        The dotted name of the module that computed it, or whose gradient it is part of.
    phase : {"forward", "backward", "update"}
        Update: what moves parameters and running statistics.
    recorded : bool
        Whether the tape was on.
    """

    op: Op
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value, ...]
    layer: str = ""
    phase: str = "forward"
    recorded: bool = True

    @property
    def name(self) -> str:
        """The op's name, in the manner of functions: ``batch_norm``."""
        return snake(self.op)

    def forward(self, kernels: Any, arrays: list[Any], title: str) -> tuple[Any, ...]:
        """What the op makes of arrays; errors say where it stands in the graph ``title``."""
        try:
            return self.compute(kernels, *arrays)
        except (TypeError, ValueError) as error:
            raise self.located(error, title) from error

    def compute(self, kernels: Any, *arrays: Any) -> tuple[Any, ...]:
        """What the op makes of arrays."""
        result = self.op.forward(kernels, *arrays)
        if result is None:
            return ()
        results = result if isinstance(result, tuple) else (result,)
        return tuple([a if type(a) in by_type else kernels.xp.asarray(a) for a in results])

    def located(self, error: Exception, title: str) -> Exception:
        """An error that says where in the graph ``title`` it was raised."""
        return type(error)(": ".join(filter(None, (title, self.layer, str(error)))))

    @property
    def written(self) -> tuple[Value, ...]:
        """What it changes in place."""
        return tuple(v for v in self.inputs[: self.op.writes] if v is not None)


def snake(op: Op) -> str:
    """The name of an op: BatchNormGrad is batch_norm_grad."""
    name = type(op).__name__
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))
