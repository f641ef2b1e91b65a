"""Optimizers: each step is one op over all parameters, working in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor, apply, tensor


class Optimizer:
    """What optimizers share: parameters, ``lr``, and state tensors beside each parameter.

    Attributes
    ----------
    lr : float
        The learning rate; may be changed at any time.
    """

    #: names of the state tensors that go with each parameter
    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[Tensor], lr: float) -> None:
        name = type(self).__name__
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{name}: expected at least one parameter, got none")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{name}: expected parameter {i} to be a Tensor, got {type(p).__name__}"
                )
        if not lr >= 0:
            raise ValueError(f"{name}: expected lr >= 0, got {lr}")
        self.lr = lr
        self.steps = 0
        self.state: dict[str, list[Tensor]] = {
            slot: [p.filled(0) for p in self.params] for slot in self.slots
        }

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.params:
            if p.requires_grad:
                p.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.steps += 1
        moved = [i for i, p in enumerate(self.params) if p.grad is not None]
        if moved:
            params = [self.params[i] for i in moved]
            state = [tensors[i] for tensors in self.state.values() for i in moved]
            apply(self.update(len(moved)), *params, *[p.grad for p in params], *state)

    def update(self, count: int) -> Op:
        """The op of one step over ``count`` parameters, their gradients and their state."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def state_dict(self) -> dict[str, Any]:
        """``lr``, the number of steps, and the state as NumPy copies named ``slot.index``."""
        arrays = {
            f"{slot}.{i}": t.numpy() for slot, ts in self.state.items() for i, t in enumerate(ts)
        }
        return {"lr": np.asarray(self.lr), "steps": np.asarray(self.steps), **arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave.

        Raises
        ------
        KeyError, ValueError
            If names or shapes do not fit; nothing has been loaded then.
        """
        own = {f"{slot}.{i}": t for slot, ts in self.state.items() for i, t in enumerate(ts)}
        if {"lr", "steps", *own} != set(state):
            differing = sorted({"lr", "steps", *own} ^ set(state))
            raise KeyError(
                f"load_state_dict into {type(self).__name__}: missing or unexpected {differing}"
            )
        for name, t in own.items():
            if state[name].shape != t.shape or state[name].dtype != t.dtype:
                raise ValueError(
                    f"load_state_dict into {type(self).__name__}: expected {name} of shape {t.shape} and "
                    f"dtype {t.dtype}, got {state[name].shape} and {state[name].dtype}"
                )
        self.lr, self.steps = float(state["lr"]), int(state["steps"])
        for name, t in own.items():
            t.data = tensor(state[name], backend=t.backend).data


class Update(Op):
    """An optimizer's step. Inputs: ``count`` parameters, their gradients, then each slot's tensors."""

    in_place = True
    __slots__ = ("count", "kernel", "settings")

    def __init__(self, count: int, kernel: str, **settings: Any) -> None:
        self.count, self.kernel, self.settings = count, kernel, settings

    def forward(self, k: Any, *arrays: Any) -> None:
        groups = [arrays[i : i + self.count] for i in range(0, len(arrays), self.count)]
        getattr(k, self.kernel)(*groups, **self.settings)

    def written(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*inputs[: self.count], *inputs[2 * self.count :])


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
        if not momentum >= 0 or not weight_decay >= 0:
            raise ValueError(
                f"SGD: expected momentum >= 0 and weight_decay >= 0, got {momentum} and {weight_decay}"
            )
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs momentum > 0")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()
        super().__init__(params, lr)

    def update(self, count: int) -> Op:
        return Update(
            count,
            "sgd",
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1), with PyTorch's defaults.

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
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"Adam: expected betas in [0, 1), got {betas}")
        if not eps >= 0 or not weight_decay >= 0:
            raise ValueError(
                f"Adam: expected eps >= 0 and weight_decay >= 0, got {eps} and {weight_decay}"
            )
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        super().__init__(params, lr)

    def update(self, count: int) -> Op:
        return Update(
            count,
            "adam",
            lr=self.lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            step=self.steps,
        )
