"""Gradient checks: ``grad`` against central differences, to any order.

A function F: (x_1, ..., x_n) -> outputs is tested through the number s(x) = sum_j <u_j, F_j(x)> with random
cotangents u. Along a random direction v of one input, (s(x + h v) - s(x - h v)) / 2h must equal <grad s, v>. The
gradients, as functions of x and u, are then such an F themselves: checking them is the next order.

Cotangents of ones would prove nothing here: sum(batch_norm(x)) is constant, so any gradient that sums to zero passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..autograd import grad
from ..bn.hooks import hold_statistics
from ..dtypes import floating
from ..messages import kind_of
from ..op import Op
from ..tape import no_grad
from ..tensor import Tensor, apply, tensor

#: distinguishes the default generators of checks from those that are seeded by a number
_STREAM = 0x6D696E6967726164


class GradientError(AssertionError):
    """A gradient that differs from its finite difference."""


def gradcheck(
    fn: Any,
    inputs: Tensor | Sequence[Any],
    order: int = 2,
    step: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    directions: int = 2,
    rng: np.random.Generator | None = None,
) -> bool:
    """Check the gradients of ``fn`` up to ``order`` against central differences in float64.

    Parameters
    ----------
    fn : callable
        Takes the inputs, returns a Tensor or a sequence of Tensors. Must be deterministic; running statistics of batch
        norms do not move. Or a pair of NumPy functions, ``out, cache = forward(*inputs)`` and
        ``gradients = backward(gout, cache)``, checked to first order; a forward that returns an array alone has its
        inputs as the cache.
    inputs : Tensor or sequence
        float64 Tensors, and arrays for a pair, are checked, whether or not they require a gradient; integer and boolean
        Tensors, and other values, are passed through. None is changed.
    order : int
        1 checks gradients, 2 (the default) also gradients of gradients, and so on.
    step : float
        Half the distance h of the two points of a difference, for directions of unit normal entries.
    rtol, atol : float
        How far an expected value E and the received one R may be apart: ``|E - R| <= atol + rtol * scale``, where
        scale is the size of the terms that make up R.
    directions : int
        Random directions per input.
    rng : numpy.random.Generator, optional
        Draws directions and cotangents. By default a generator of its own for each set of shapes: a check is
        repeatable, and inputs from ``default_rng(seed)`` never equal the cotangents, which would hide wrong terms.

    Returns
    -------
    True

    Raises
    ------
    GradientError
        Naming the input, the order, the expected and the received derivative; also if one of the two is infinite or
        NaN.
    TypeError
        If an input is floating but not float64.
    ValueError
        If there is nothing to check: no float64 Tensor, ``order`` < 1 or ``directions`` < 1.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> mg.gradcheck(mg.tanh, mg.tensor(np.array([0.3, -2.0])))
    True
    >>> mg.gradcheck((np.tanh, lambda gy, x: gy * (1 - np.tanh(x) ** 2)), np.array([0.3, -2.0]))
    True
    """
    given: list[Any] = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if isinstance(fn, tuple) and all(map(callable, fn)):
        given = [tensor(a, backend="numpy") if isinstance(a, np.ndarray) else a for a in given]
        fn, order = partial(_numpy_pair, *fn), min(order, 1)
    elif not callable(fn):
        raise TypeError(f"gradcheck: expected a function first, got {kind_of(fn)}")
    if order < 1:
        raise ValueError(f"gradcheck: expected order >= 1, got {order}")
    if directions < 1:
        raise ValueError(f"gradcheck: expected directions >= 1, got {directions}")
    checked = [i for i, x in enumerate(given) if isinstance(x, Tensor) and floating(x.dtype)]
    for i in checked:
        if given[i].dtype != np.float64:
            raise TypeError(f"gradcheck: expected float64, got input {i} of {given[i].dtype}")
    if not checked:
        raise ValueError("gradcheck: expected at least one float64 Tensor among the inputs")
    rng = own_stream(*(given[i].shape for i in checked)) if rng is None else rng

    def function(*xs: Tensor) -> list[Tensor]:
        moved = dict(zip(checked, xs, strict=True))
        ys: Any = fn(*(moved.get(i, x) for i, x in enumerate(given)))
        return [y for y in (ys if isinstance(ys, (list, tuple)) else [ys]) if floating(y.dtype)]

    points = [tensor(given[i], requires_grad=True, backend=given[i].backend) for i in checked]
    names = [f"input {i}" for i in checked]
    with hold_statistics():
        for n in range(1, order + 1):
            check = _Check(n, step, rtol, atol, directions, rng)
            function, points, names = check(function, points, names)
    return True


def _numpy_pair(forward: Any, backward: Any, *inputs: Any) -> Tensor:
    """Apply a forward and backward pass in NumPy as an op."""

    def run(arrays: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        copies = iter([a.copy() for a in arrays])
        full = [next(copies) if isinstance(x, Tensor) else x for x in inputs]
        result = forward(*full)
        return (result[0], result[1:]) if isinstance(result, tuple) else (result, full)

    class Pair(Op):
        def forward(self, k: Any, *arrays: Any) -> Any:
            return run(arrays)[0]

        def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
            grads = backward(gy.numpy().copy(), *run([t.numpy() for t in node.inputs])[1])
            grads = grads if isinstance(grads, (tuple, list)) else [grads]
            return tuple(tensor(np.asarray(g), backend="numpy") for g in grads)

    return apply(Pair(), *(x for x in inputs if isinstance(x, Tensor)))


def own_stream(*shapes: tuple[int, ...]) -> np.random.Generator:
    """A generator that depends on these shapes alone and shares no values with ``default_rng(seed)`` of any seed."""
    sizes = [n for shape in shapes for n in (len(shape), *shape)]
    return np.random.default_rng(np.random.SeedSequence([_STREAM, *sizes]))


@dataclass
class _Check:
    """One order of a check; a call returns the function, points and names of the next order."""

    order: int
    step: float
    rtol: float
    atol: float
    directions: int
    rng: np.random.Generator

    def __call__(self, function: Any, points: list[Tensor], names: list[str]) -> Any:
        ys = function(*points)
        if not any(y.requires_grad for y in ys):
            raise GradientError(f"order {self.order}: no output depends on any input")
        cotangents = [self._normal(y) for y in ys]
        again = function(*points)
        pairs = [(a.numpy(), b.numpy()) for a, b in zip(ys, again, strict=True)]
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            raise GradientError(
                "the function gives two results for one input: it must not be random"
            )
        used = [(y, u) for y, u in zip(ys, cotangents, strict=True) if y.requires_grad]
        grads = grad([y for y, _ in used], points, [u for _, u in used], allow_unused=True)
        for i, (x, g, name) in enumerate(zip(points, grads, names, strict=True)):
            if g is not None and g.dtype != x.dtype:
                raise GradientError(
                    f"order {self.order}, {name}: expected a gradient of dtype {x.dtype}, received {g.dtype}"
                )
            for _ in range(self.directions):
                self._compare(function, points, cotangents, i, g, name)

        def gradients(*arguments: Tensor) -> list[Tensor]:
            xs, us = arguments[: len(points)], arguments[len(points) :]
            ys = function(*xs)
            pairs = [(y, u) for y, u in zip(ys, us, strict=True) if y.requires_grad]
            used, along = [y for y, _ in pairs], [u for _, u in pairs]
            gs = grad(used, xs, along, create_graph=True, allow_unused=True)
            return [x * 0 if g is None else g for x, g in zip(xs, gs, strict=True)]

        us = [tensor(u, requires_grad=True, backend=u.backend) for u in cotangents]
        return gradients, [*points, *us], [*names, *(f"cotangent {j}" for j in range(len(us)))]

    @np.errstate(invalid="ignore", over="ignore")  # reported below
    def _compare(
        self,
        function: Any,
        points: list[Tensor],
        cotangents: list[Tensor],
        i: int,
        g: Tensor | None,
        name: str,
    ) -> None:
        v = self._normal(points[i])
        terms = np.zeros(1) if g is None else (g.detach() * v).numpy()
        received = float(terms.sum())
        ends = []
        for sign in (1, -1):
            moved = points[i] + sign * self.step * v
            moved = tensor(moved, requires_grad=True, backend=moved.backend)
            ys = function(*points[:i], moved, *points[i + 1 :])
            with no_grad():
                ends.append([(y.detach() * u).numpy() for y, u in zip(ys, cotangents, strict=True)])
        differences = [a - b for a, b in zip(*ends, strict=True)]
        expected = float(sum(d.sum() for d in differences)) / (2 * self.step)
        scale = max(float(np.abs(terms).sum()), abs(expected))
        finite = np.isfinite([expected, received, scale]).all()
        if not finite or not abs(expected - received) <= self.atol + self.rtol * scale:
            raise GradientError(
                f"order {self.order}, {name} of shape {points[i].shape}: expected a derivative of "
                f"{expected:.10g} (central difference), received {received:.10g} from grad"
                + ("" if finite else "; both must be finite")
            )

    def _normal(self, like: Tensor) -> Tensor:
        return tensor(self.rng.standard_normal(like.shape), backend=like.backend)
