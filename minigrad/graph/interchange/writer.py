"""The writer of an ONNX file: what rules add nodes and constants to, and the stand-in for rules that are not there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ...op import Op
from ...tape import Node, listening, no_grad
from ...tensor import Tensor
from .protobuf import NUMBERS, library
from .rules import RULES


class Wire(NamedTuple):
    """A value of the file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Step(NamedTuple):
    """An op to be written: what it takes, and the shapes and dtypes of what it makes."""

    op: Any
    inputs: tuple[Any, ...]
    outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]


class Writer:
    """The nodes, constants and initializers of a file to be."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.layer = ""
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._taken: set[str] = set()
        self._constants: dict[tuple[Any, ...], str] = {}

    # --- what the rules use ---

    def node(
        self, kind: str, *inputs: Wire | str | None, outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; the name of what it makes, or a tuple of them. None is an input that is left out."""
        name = self.unique(f"{self.layer}/{kind}" if self.layer else kind)
        made = [name, *(self.unique(f"{name}:{i}") for i in range(1, outputs))]
        taken = ["" if v is None else v if isinstance(v, str) else v.name for v in inputs]
        while taken and not taken[-1]:
            taken.pop()
        helper = library().helper
        self.nodes.append(helper.make_node(kind, taken, made, name=name, **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of an array, or number, that stands in the program."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            layer, self.layer = self.layer, ""
            self._constants[key] = self.node("Constant", value=tensor_proto(array, ""))
            self.layer = layer
        return self._constants[key]

    def integers(self, values: Iterable[int]) -> str:
        """The name of a vector of int64: shapes, axes, paddings."""
        return self.constant(np.array([*values], np.int64))

    def cast(self, x: Wire | str, dtype: np.dtype) -> str:
        """``x`` in another dtype."""
        return self.node("Cast", x, to=NUMBERS[dtype])

    def unfold(self, step: Step) -> tuple[Any, ...]:
        """Write what the op's reference applies."""
        return Reference(self, step).results

    # --- what the walk uses ---

    def unique(self, name: str) -> str:
        """``name``, with a number behind it if there is one already."""
        candidate, n = name, 1
        while candidate in self._taken:
            candidate, n = f"{name}_{n}", n + 1
        self._taken.add(candidate)
        return candidate

    def write(self, step: Step) -> tuple[Any, ...]:
        """Write an op; the names of its outputs, None for one that ONNX does not have, or of what it has written to."""
        op = step.op
        rule = RULES.get(type(op))
        if rule is None and type(op).reference is not Op.reference:
            return self.unfold(step)
        if rule is None:
            self.refuse(op, "there is no ONNX operator for it")
        made = rule(self, step)
        return made if isinstance(made, tuple) else (made,)

    def refuse(self, op: Op, why: str) -> NoReturn:
        """Raise, saying which op can't be written, and where it stands."""
        where = f" in {self.layer}" if self.layer else ""
        raise ValueError(
            f"to_onnx: {self.title}: {type(op).__name__}{where} can't be written: {why}; capture a function that "
            "does without it, as a rule the model's forward alone"
        )


class Reference:
    """A listener: writes down what an op's reference applies, to inputs that only have the right shapes."""

    behind: Node | None = None

    def __init__(self, writer: Writer, step: Step) -> None:
        self.writer, self._known, self._alive = writer, dict[int, Wire](), list[Any]()
        tensors = [None if w is None else self._stand_in(w) for w in step.inputs]
        token = listening.set(self)
        try:
            with no_grad(), np.errstate(all="ignore"):
                made = step.op.reference(*tensors)
        finally:
            listening.reset(token)
        made = made if isinstance(made, tuple) else (made,)
        self.results = tuple([self._known[id(t._data)].name for t in made])

    def _stand_in(self, wire: Wire) -> Tensor:
        t = Tensor(np.ones(wire.shape, wire.dtype))
        self._know(t, wire.name)
        return t

    def _know(self, t: Tensor, name: str) -> None:
        self._known[id(t._data)] = Wire(name, t.shape, t.dtype)
        self._alive.append(t._data)

    def applied(self, op: Op, inputs: tuple[Tensor | None, ...], outputs: tuple[Any, ...]) -> None:
        wires = tuple([None if t is None else self._known[id(t._data)] for t in inputs])
        made = self.writer.write(Step(op, wires, tuple([(y.shape, y.dtype) for y in outputs])))
        for y, name in zip(outputs, made, strict=True):
            if name is not None:
                self._know(y, name)

    def written_out(self, tensor: Tensor) -> None:
        self._know(tensor, self.writer.constant(tensor._data))

    def calls(self, module: Any, outermost: Any) -> Any:
        return nullcontext()

    def before(self, op: Op, inputs: tuple[Tensor | None, ...]) -> None: ...
    def includes(self, graph: Any) -> None: ...
    def decided(self, question: Any, answer: Any) -> None: ...
    def looked_at(self, tensor: Any, how: str) -> None: ...
    def born(self, owner: Any) -> None: ...
    def changed(self, what: str, owner: Any = None) -> None: ...
    def reads(self, leaf: Any) -> None: ...
    def writes(self, leaf: Any, value: Any) -> None: ...


def tensor_proto(array: np.ndarray, name: str) -> Any:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return library().helper.make_tensor(
        name, NUMBERS[array.dtype], array.shape, little.tobytes(), raw=True
    )
