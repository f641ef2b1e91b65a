"""Reverse-mode differentiation: the walk from outputs back to the values that they were computed from.

The nodes that the outputs depend on are visited from the newest to the oldest, each once, when all its cotangents have
come in; a node is always newer than its parents. Cotangents live in a dict of this walk, keyed by value. Nothing
recurses, so a chain of 100,000 ops is no different from one of ten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, overload

from .backend import by_type, where
from .dtypes import half
from .messages import explained, missing, not_a_tensor
from .op import Op
from .ops.arithmetic import ADD
from .ops.methods import method
from .tape import FREED, Leaf, Node, Ref, differentiating, moving, recording, tracing
from .tensor import Tensor, apply, literal

__getattr__ = missing(__name__)
Tensors = Tensor | Sequence[Tensor]
Cotangents = Tensor | Sequence[Tensor | None] | None
_order = attrgetter("order")


class Copy(Op):
    """A copy, for a gradient whose array something else shares."""

    elementwise = True
    saves_inputs = False

    def forward(self, k: Any, x: Any) -> Any:
        return x.copy()

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        return gy


class Alias(Copy):
    """The same value under a new name."""

    aliases = True

    def forward(self, k: Any, x: Any) -> Any:
        return x


class AddInto(Op):
    """a += b, for a sum that belongs to the walk alone."""

    writes = 1

    def forward(self, k: Any, a: Any, b: Any) -> None:
        k.add_into(a, b)


COPY, ALIAS, ADD_INTO = Copy(), Alias(), AddInto()


@overload
def grad(
    outputs: Tensors,
    inputs: Tensor,
    grad_outputs: Cotangents = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Tensor: ...
@overload
def grad(
    outputs: Tensors,
    inputs: Sequence[Tensor],
    grad_outputs: Cotangents = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]: ...
@explained
def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Cotangents = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """Gradients of ``outputs`` with respect to ``inputs``: the vector-Jacobian product.

    Reads the graph and leaves it as it is: nothing is accumulated in ``.grad`` and nothing is freed.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensors
        What to differentiate.
    inputs : Tensor or sequence of Tensors
        With respect to what: leaves or intermediate results.
    grad_outputs : Tensor or sequence of Tensors or None, optional
        The cotangent of each output, of its shape; None is 1 for an output with one element.
    create_graph : bool
        Record the computation of the gradients, so that they can be differentiated again.
    allow_unused : bool
        Give None for an input that the outputs do not depend on, instead of raising.

    Returns
    -------
    Tensor for a single input, tuple of Tensors for a sequence

    Raises
    ------
    ValueError
        For an output of several elements without a cotangent, a cotangent of another shape, or an unused input.
    RuntimeError
        If an output or input requires no gradient, an earlier ``backward`` freed the graph, or a tensor that it saved
        was changed in place.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor(3, requires_grad=True)
    >>> dy = mg.grad(x**3, x, create_graph=True)
    >>> dy, mg.grad(dy, x)
    (Tensor(27., requires_grad=True), Tensor(18.))
    """
    outs, ins = (ts if isinstance(ts, (list, tuple)) else (ts,) for ts in (outputs, inputs))
    seeds: Any = grad_outputs if isinstance(grad_outputs, (list, tuple)) else (grad_outputs,)
    if grad_outputs is None:
        seeds = (None,) * len(outs)
    if len(seeds) != len(outs):
        raise ValueError(
            f"grad: expected {len(outs)} grad_outputs, one per output, got {len(seeds)}"
        )
    for name, ts in (("output", outs), ("input", ins)):
        for i, t in enumerate(ts):
            if not isinstance(t, Tensor):
                raise TypeError(f"grad, {name} {i}: {not_a_tensor(t)}")
            if ts is ins and not t.requires_grad:
                raise RuntimeError(f"grad: input {i} requires no gradient")
    pairs = [(y, _cotangent("grad", y, g)) for y, g in zip(outs, seeds, strict=True)]
    cotangents = _merge(pairs)
    wanted = {x._ref for x in ins}
    with differentiating(create_graph):
        found = _walk(cotangents, wanted, create_graph)
    grads = tuple(found.get(x._ref) for x in ins)
    unused = [i for i, g in enumerate(grads) if g is None]
    if unused and not allow_unused:
        raise ValueError(
            f"grad: the outputs do not depend on input {unused[0]} of shape {ins[unused[0]].shape}; "
            "allow_unused=True gives None for it"
        )
    return grads if isinstance(inputs, (list, tuple)) else grads[0]


@method()
def clone(x: Tensor) -> Tensor:
    """A copy in memory of its own, through which gradients flow back to x."""
    return apply(COPY, x)


@method()
def backward(
    self: Any, grad: Tensor | None = None, create_graph: bool = False, **others: Any
) -> None:
    """Add the gradient of this tensor to the ``.grad`` of every leaf it depends on, and free the graph.

    Parameters
    ----------
    grad : Tensor, optional
        The cotangent, of this tensor's shape; may be left out for a tensor with one element.
    create_graph : bool
        Record the computation, so that the gradients can be differentiated again; the graph is kept then.

    Raises
    ------
    ValueError
        If a cotangent is needed and missing, or has another shape.
    RuntimeError
        If this tensor requires no gradient, its graph was freed by an earlier ``backward``, or a tensor that it
        saved was changed in place. No ``.grad`` has changed then.
    """
    if others:
        raise TypeError(
            f"backward: expected grad and create_graph, got {', '.join(others)}; a graph is kept by "
            "backward(create_graph=True) and by minigrad.grad, which frees nothing"
        )
    seed = _cotangent("backward", self, grad)
    with differentiating(create_graph):
        found = _walk({self._ref: seed}, None, create_graph, free=not create_graph)
        _collect(found, seed, self._ref[0])


def _collect(found: dict[Ref, Tensor], seed: Tensor, root: Any) -> None:
    """Add gradients to those of the leaves, each in an array that nothing else shares, the seed included."""
    tracer, taken = tracing.get(), {id(seed._data)}
    if tracer is not None:
        tracer.node = tracer.node or root
    leaf: Any
    with moving:
        for (leaf, _), g in found.items():
            if tracer is not None:
                tracer.host_read(leaf, "backward()")
            if leaf.grad is not None:
                g = apply(ADD, leaf.grad, g)
            else:
                array = g._data
                if id(array) in taken or not by_type[type(array)].owned(array):
                    g = apply(COPY, g)
                taken.add(id(array))
            leaf.assign(g)


def _cotangent(name: str, y: Tensor, g: Tensor | None) -> Tensor:
    """The cotangent that a walk starts from at the output ``y``, if ``g`` may be it."""
    if y._ref is None:
        raise RuntimeError(
            f"{name}: the output of shape {y.shape} requires no gradient: nothing it was computed "
            "from does, or it was computed under no_grad or detached"
        )
    devices = by_type[type(y._data)].devices
    if devices is not None:
        devices.check(name, [y._data])
    if g is None:
        if y._data.size != 1:
            raise ValueError(
                f"{name}: expected a gradient for an output of shape {y.shape}; only an output "
                "with one element has a default, 1"
            )
        return literal(Tensor(by_type[type(y._data)].xp.ones_like(y._data), None))
    g = y.lift(g, name)
    if (there := where(g._data)) != (here := where(y._data)):
        raise TypeError(
            f"{name}: the output is on {here} and its gradient on {there}; move one with .to(backend)"
        )
    if g.shape != y.shape or g.dtype != y.dtype:
        raise ValueError(
            f"{name}: expected a gradient of shape {y.shape} and dtype {y.dtype}, "
            f"got {g.shape} and {g.dtype}"
        )
    return g


def _merge(pairs: Sequence[tuple[Any, Tensor]]) -> dict[Ref, Tensor]:
    """Cotangents by value, added up where one value is given twice: halves in float32, rounded once."""
    cotangents: dict[Ref, Tensor] = {}
    for y, g in pairs:
        old = cotangents.get(y._ref)
        cotangents[y._ref] = g if old is None else old.widened() + g.widened()
    return {y._ref: cotangents[y._ref].astype(y.dtype) for y, _ in pairs}


def _walk(
    cotangents: dict[Ref, Tensor],
    wanted: set[Ref] | None,
    create_graph: bool,
    free: bool = False,
    stop: Sequence[Node | Leaf] = (),
) -> dict[Ref, Tensor]:
    """Carry cotangents back to the ``wanted`` values (None: to all leaves), never past a node of ``stop``.

    ``cotangents`` is used up; what is left in it is returned: the gradients of the wanted values.
    """
    nodes = _toposort([ref[0] for ref in cotangents], stop)
    needs_of = None if wanted is None else _needs(wanted, nodes)
    for node in nodes if needs_of is None else needs_of:
        if node.inputs or node._outputs:
            node.check()
    get, sums = cotangents.get, _Sums(cotangents, create_graph)
    tracer = tracing.get()
    outer = None if tracer is None else tracer.node
    for node in nodes:
        needs = node.parents if needs_of is None else needs_of.get(node)
        if needs is None:
            continue
        if tracer is not None:
            tracer.node = outer or node
        for ref, gx in zip(needs, _backward(node, needs, sums, wanted)):  # noqa: B905
            if ref is not None and gx is not None:
                old = get(ref)
                if old is None:
                    cotangents[ref] = gx
                elif ref in sums.own:
                    apply(ADD_INTO, old, gx)
                else:
                    sums.add(ref, old, gx)
        if free:
            node.free()
    if sums.dtypes:
        sums.round(tuple(sums.dtypes))
    return cotangents


@dataclass(slots=True)
class _Sums:
    """Sums of cotangents, of values that are used several times.

    Attributes
    ----------
    own : set of Ref
        Values whose sum is in an array of this walk's, which it may write into.
    dtypes : dict of Ref to dtype
        Of values in float16 or bfloat16, whose sum is in float32 until all of it has come in.
    """

    cotangents: dict[Ref, Tensor]
    create_graph: bool
    own: set[Ref] = field(default_factory=set)
    dtypes: dict[Ref, Any] = field(default_factory=dict)

    def add(self, ref: Ref, old: Tensor, gx: Tensor) -> None:
        """Replace the cotangent of a value by its sum with a further one."""
        if half(gx._data.dtype):
            self.dtypes[ref] = gx.dtype
            old, gx = old.widened(), gx.widened()
        if not self.create_graph:
            self.own.add(ref)
        self.cotangents[ref] = apply(ADD, old, gx)

    def round(self, refs: Iterable[Ref]) -> None:
        """Round what has come in for these values to their dtypes."""
        for ref in refs:
            if ref in self.dtypes and ref in self.cotangents:
                self.cotangents[ref] = self.cotangents[ref].astype(self.dtypes[ref])


def _backward(
    node: Node, needs: Sequence[Ref | None], sums: _Sums, wanted: set[Ref] | None
) -> tuple[Tensor | None, ...]:
    """The cotangents of a node's inputs from those of its outputs, which are used up unless wanted; () without any."""
    op, take = node.op, sums.cotangents.pop
    if op.num_outputs == 1 and wanted is None and not sums.dtypes:
        gys: tuple[Any, ...] = (take((node, 0), None),)
    else:
        refs = [(node, i) for i in range(op.num_outputs)]
        sums.round(refs)
        gys = tuple([take(ref, None) for ref in refs])
        kept = wanted or ()
        pairs = zip(refs, gys, strict=True)
        sums.cotangents |= {r: g for r, g in pairs if g is not None and r in kept}
    gy = gys[0]
    if gy is None and not any([g is not None for g in gys]):
        return ()
    if op.backward is None:
        gxs = _through_reference(node, needs, gys, sums.create_graph)
    else:
        gxs = op.backward(node, needs, *gys)
        if type(gxs) is not tuple:
            gxs = (gxs,)
    if not op.elementwise:
        node.check_gradients(needs, None, gxs)
    else:
        for gx in gxs:
            if gx is not gy and gx is not None and gx._data.shape != gy._data.shape:
                node.check_gradients(needs, gy, gxs)
    return gxs


def _toposort(roots: Iterable[Any], stop: Sequence[Node | Leaf]) -> list[Node]:
    """All nodes that the roots were computed from, newest first: the roots too, but neither Leaves nor ``stop``."""
    nodes = [node for node in {*roots}.difference(stop) if node.op is not None]
    seen: set[Any] = {*nodes, *stop}
    for node in nodes:  # grows meanwhile
        if node.parents is FREED:
            node.check()
        for ref in node.parents:
            if ref is not None and ref[0] not in seen:
                seen.add(ref[0])
                if ref[0].op is not None:
                    nodes.append(ref[0])
    return sorted(nodes, key=_order, reverse=True)


def _needs(wanted: set[Ref], nodes: list[Node]) -> dict[Node, list[Ref | None]]:
    """The nodes that were computed from a wanted value, and which of their inputs were."""
    leads: dict[Any, Any] = {ref[0]: None for ref in wanted}
    for node in reversed(nodes):
        needs = [ref if ref and ref[0] in leads else None for ref in node.parents]
        if any(needs):
            leads[node] = needs
    return {node: needs for node, needs in leads.items() if needs}


def _through_reference(node: Node, needs: Any, gys: Sequence[Any], create_graph: bool) -> Any:
    """The backward of an op that has none: its reference, differentiated.

    The inputs enter under new names, so that one that was computed from another counts as independent of it.
    """
    token = recording.set(True)
    try:
        inputs = [apply(ALIAS, x) if x is not None and x._ref else x for x in node.inputs]
        outputs = node.op.reference(*inputs)
    finally:
        recording.reset(token)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pairs = zip(outputs, gys, strict=True)
    used = [(y, gy) for y, gy in pairs if y is not None and y._ref and gy is not None]
    names = [x._ref if need else None for x, need in zip(inputs, needs, strict=True)]
    stop = [x._ref[0] for x in inputs if x is not None and x._ref]
    wanted: Any = {*names} - {None}
    found: dict[Any, Tensor] = _walk(_merge(used), wanted, create_graph, stop=stop)
    return tuple(map(found.get, names))
