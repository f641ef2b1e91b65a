"""Where a NaN or an infinity first arises: a tracer that looks at the result of every op."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..backend import by_type
from ..dtypes import floating
from ..nn.module import Module, scope
from ..op import Op
from ..tape import LITERAL, Tracer, tracing
from ..tensor import Tensor
from .calls import snake

#: ops whose layers are remembered, for the backward pass
MOST = 100_000


class Anomalies(Tracer):
    """The tracer."""

    def __init__(self) -> None:
        self._scopes: dict[int, tuple[Module, ...]] = {}  # by the time of the node

    def applied(
        self, op: Op, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        if op is LITERAL:
            return
        if outputs and outputs[0]._ref is not None:
            self._scopes[outputs[0]._ref[0].order] = scope.get()
            if len(self._scopes) > MOST:
                del self._scopes[next(iter(self._scopes))]
        for y in outputs or inputs[: op.writes]:
            found = None if y is None else _found(y)
            if y is None or not found:
                continue
            had = {i: _found(x) for i, x in enumerate(inputs) if x is not None and i >= op.writes}
            # An infinity that was there before is a mask, say; a NaN never is.
            if found == "NaN" or not any(had.values()):
                raise RuntimeError(self._message(op, y, found, had))

    def _message(self, op: Op, y: Tensor, found: str, had: dict[int, str]) -> str:
        node, modules = self.node, scope.get()
        where = "forward pass"
        if node is not None:
            where = f"backward pass of {snake(node.op)}"
            modules = self._scopes.get(node.order, ())
        if modules:
            names = {m: name for name, m in modules[0].named_modules()}
            name, kind = names.get(modules[-1], ""), type(modules[-1]).__name__
            where += f", in layer {name!r} ({kind})" if name else f", in {kind}"
        already = [f"input {i} has {what} already" for i, what in had.items() if what]
        came = "; ".join(already) or "its inputs are finite"
        return f"detect_anomaly: {found} in the result of {snake(op)}, shape {y.shape}, {where}; {came}"


def _found(x: Tensor) -> str:
    """Which of NaN and Inf a tensor has; empty for neither."""
    if not floating(x.dtype):
        return ""
    xp = by_type[type(x._data)].xp
    if xp.isfinite(x._data).all():
        return ""
    return "NaN" if xp.isnan(x._data).any() else "Inf"


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise where a NaN or an infinity first arises, forward or backward: a context manager and a decorator.

    Results of all ops are looked at, which makes them several times slower, the more so on a GPU; use it to find an
    error and not in training. Without it nothing is slower. Infinities that an op was given, of masks, say, are not
    reported, unless they become NaN. Jitted functions and captured graphs run op by op inside.

    Raises
    ------
    RuntimeError
        Naming the op, its layer, and the inputs that had NaN or Inf already. Also if used inside of a captured
        function: put it around the call.

    Examples
    --------
    >>> import minigrad as mg
    >>> with mg.detect_anomaly():
    ...     mg.sqrt(mg.zeros(2, requires_grad=True)).sum().backward()
    Traceback (most recent call last):
        ...
    RuntimeError: detect_anomaly: Inf in the result of divide, shape (2,), backward pass of sqrt; its inputs are finite
    """
    outer = tracing.get()
    if outer is not None and not isinstance(outer, Anomalies):
        raise RuntimeError("detect_anomaly: inside of a captured function; put it around the call")
    token = tracing.set(Anomalies() if outer is None else outer)
    try:
        with np.errstate(all="ignore"):  # its warnings tell less
            yield
    finally:
        tracing.reset(token)
