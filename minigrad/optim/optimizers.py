"""Optimizers: each step is one op over all parameters, which updates them in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..backend import beside, where, writable
from ..messages import kind_of, not_a_tensor, require_at_least_0, require_state
from ..nn.module import load
from ..op import Op
from ..tape import untraced
from ..tensor import Tensor, apply, tensor


class Optimizer:
    """Base class of optimizers: parameters, a learning rate, and state tensors for each parameter.

    float16 and bfloat16 parameters are updated in float32 and rounded once a step; their state is float32. An update
    smaller than half the distance to the next float16 number is lost: train float32 parameters where that matters.

    Parameters may be moved to another backend or device (``Module.to``): the state follows at the next step.

    Attributes
    ----------
    lr : float
        The learning rate; may be changed at any time.
    steps : Tensor of int64, shape (parameters,)
        Number of updates applied to each parameter so far: a step skips parameters without a gradient.
    """

    #: names of the state tensors of each parameter
    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        name = type(self).__name__
        if isinstance(params, Tensor):
            raise TypeError(f"{name}: expected a list of Tensors, got one Tensor")
        if not isinstance(params, Iterable):
            hint = "; call it" if callable(params) else ""
            hint = "; pass its .parameters()" if hasattr(params, "parameters") else hint
            raise TypeError(f"{name}: expected a list of Tensors, got {kind_of(params)}{hint}")
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{name}: expected at least one parameter, got none")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}, parameter {i}: {not_a_tensor(p)}")
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: parameter {i} is computed from others; pass those, or .detach() it"
                )
            if not writable(p._data):
                raise ValueError(
                    f"{name}: parameter {i} shares memory that must not be written to; copy it with "
                    "minigrad.tensor"
                )
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError(f"{name}: a parameter is given twice")
        require_at_least_0(name, lr=lr)
        self.lr = lr
        self.steps = tensor(np.zeros(len(self.params), np.int64), backend=self.params[0].backend)
        self.state: dict[str, list[Tensor]] = {
            slot: [p.widened().filled(0) for p in self.params] for slot in self.slots
        }

    def __repr__(self) -> str:
        count = len(self.params)
        hidden = ("lr", "params", "steps", "state", "slots")
        others = {k: v for k, v in vars(self).items() if k not in hidden and k[0] != "_"}
        settings = [f"{k}={v}" for k, v in {"lr": self.lr, **others}.items()]
        return f"{type(self).__name__}({', '.join(settings)}, {count} parameter{'s' * (count > 1)})"

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.params:
            if p._ref is not None:
                p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        grads = [p.grad for p in self.params]
        columns: list[Any] = [self.params, *self.state.values(), grads]
        moved = tuple([i for i, g in enumerate(grads) if g is not None])
        if moved:
            self._follow()
            apply(Update(self, moved), self.steps, *[c[i] for c in columns for i in moved])

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        """Update parameters in place with the kernel set ``k``.

        ``steps``: number of updates applied to each of them, this one included. ``columns``: the arrays of the
        parameters, those of each slot, and the gradients.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def state_dict(self) -> dict[str, np.ndarray]:
        """``lr``, ``steps``, and the state as NumPy copies named ``slot.index``; no other settings."""
        return {"lr": np.array(float(self.lr)), **{name: t.numpy() for name, t in self._named()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what ``state_dict`` returned.

        Raises
        ------
        KeyError
            For missing or unexpected names.
        ValueError
            If a shape or dtype differs. Whatever is raised, nothing has been loaded.
        """
        name, lr = type(self).__name__, tensor(float(self.lr), dtype="float64", backend="numpy")
        require_state(name, state)
        own, into = {"lr": lr, **dict(self._named())}, f"load_state_dict into {name}"
        if differing := sorted(own.keys() ^ state.keys()):
            raise KeyError(f"{into}: missing or unexpected {differing}")
        load(into, own, state, strict=True)
        self.lr = lr.item()

    def _follow(self) -> None:
        """Move the state to where the parameters are; ``steps`` to where the first one is."""
        for ts in ([self.steps], *self.state.values()):
            for t, p in zip(ts, self.params, strict=False):
                if where(t._data) != where(p._data):
                    with beside(p._data), untraced():  # the values stay what they are
                        t.move(p.backend)

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        yield "steps", self.steps
        yield from ((f"{slot}.{i}", t) for slot, ts in self.state.items() for i, t in enumerate(ts))


class Update(Op):
    """An optimizer's step, with the settings that it has when the step runs.

    Inputs: the numbers of updates so far, the parameters ``moved``, their state of each slot, and their gradients.
    """

    __slots__ = ("moved", "optimizer", "writes")

    def __init__(self, optimizer: Optimizer, moved: tuple[int, ...]) -> None:
        self.optimizer, self.moved = optimizer, moved
        self.writes = 1 + len(moved) * (1 + len(optimizer.slots))

    def state_name(self, i: int) -> str:
        """The name in ``Optimizer.state_dict`` of the tensor that is input ``i``; "parameter" for parameters."""
        if i == 0:
            return "steps"
        column, row = divmod(i - 1, len(self.moved))
        return f"{('parameter', *self.optimizer.slots)[column]}.{self.moved[row]}"

    def forward(self, k: Any, steps: Any, *arrays: Any) -> None:
        count = len(self.moved)
        columns = [arrays[i : i + count] for i in range(0, len(arrays), count)]
        self.optimizer.update(k, k.count(steps, self.moved), *columns)


class SGD(Optimizer):
    """Stochastic gradient descent, with PyTorch's formulas::

        g = grad + weight_decay * p
        v = momentum * v + g
        p = p - lr * (g + momentum * v  if nesterov else  v)

    Parameters
    ----------
    params : iterable of Tensors
    lr : float
    momentum : float
        0, the default, keeps no velocities.
    nesterov : bool
    weight_decay : float

    Raises
    ------
    ValueError
        For negative values, or nesterov without momentum.

    Examples
    --------
    >>> import minigrad as mg
    >>> x = mg.tensor(3, requires_grad=True)
    >>> optimizer = mg.optim.SGD([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> x
    Tensor(2.4, requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        require_at_least_0("SGD", momentum=momentum, weight_decay=weight_decay)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs momentum > 0")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()
        super().__init__(params, lr)

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        if self.momentum and not self.slots:
            raise ValueError(
                "SGD: momentum was 0 when the optimizer was made, so it has no velocities; make another with momentum"
            )
        settings = {"momentum": self.momentum, "nesterov": self.nesterov}
        k.sgd(*columns, lr=self.lr, weight_decay=self.weight_decay, **settings)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1), with PyTorch's defaults; t is the number of updates::

        g = grad + weight_decay * p
        m = b1 * m + (1 - b1) * g                  first moment
        v = b2 * v + (1 - b2) * g^2                second moment
        p = p - lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    params : iterable of Tensors
    lr : float
    betas : pair of floats in [0, 1)
        Decay rates of the first and second moments.
    eps : float
        Added to the square root of the second moment.
    weight_decay : float
        Added to the gradient as ``weight_decay * p``.

    Raises
    ------
    ValueError
        For values out of range.
    """

    slots = ("first_moment", "second_moment")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"Adam: expected betas as a pair of numbers, got {betas!r}")
        if not all(isinstance(b, (int, float, np.floating)) and 0 <= b < 1 for b in betas):
            raise ValueError(f"Adam: expected betas in [0, 1), got {betas}")
        require_at_least_0("Adam", eps=eps, weight_decay=weight_decay)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        super().__init__(params, lr)

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        settings = {"betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}
        k.adam(*columns, lr=self.lr, steps=steps, **settings)
