"""The contract of an operation: arrays in, arrays out, and a rule for going back.

An ``Op`` instance holds an operation's static parameters (an axis, an ``eps``) and nothing of one particular
application: that is a ``Node`` of the tape. Three methods make an op:

``forward(k, *arrays)``
    computes arrays from arrays. ``k`` is the kernel set of the arrays' backend and ``k.xp`` its array module.
``backward(node, needs, *gy)``
    takes Tensors and returns one Tensor (or None) per input, of that input's shape, written with differentiable
    Tensor arithmetic, so that gradients of every order exist. ``node.inputs`` and ``node.outputs`` are what the op
    asked to be saved; ``needs[i]`` is falsy where input ``i`` needs no gradient; ``gy`` has one Tensor per output,
    None for an output that nothing downstream used.
``reference(*tensors)``
    the same function in plain Tensor arithmetic. It documents a fused ``forward``, tests it, and is
    differentiated in place of a ``backward`` where none is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class Op:
    """Base class of all operations; subclasses are private to the file of their op family."""

    __slots__ = ()

    #: which inputs to keep for ``backward`` (all, none, or a slice of them), and which outputs
    saves_inputs: bool | slice = True
    saves_outputs: ClassVar[tuple[int, ...]] = ()
    #: the output shares memory with the first input
    aliases: ClassVar[bool] = False
    #: ``forward`` writes into that many of its first inputs and returns nothing: optimizer steps, running statistics
    writes: int = 0
    differentiable: bool = True
    #: one output, and every input that a gradient flows back to has its shape
    elementwise: ClassVar[bool] = False
    num_outputs: ClassVar[int] = 1

    backward: ClassVar[Callable[..., Any] | None] = None

    def forward(self, k: Any, *arrays: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward")

    def reference(self, *tensors: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has neither a backward nor a reference")
