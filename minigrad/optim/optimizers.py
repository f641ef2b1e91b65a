"""Optimizers: each step is one op over all parameters, which updates them in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import beside, where, writable
from ..messages import (
    Explained,
    explained,
    kind_of,
    not_a_tensor,
    require_at_least_0,
    require_state,
)
from ..nn.module import load
from ..op import Op
from ..tape import untraced
from ..tensor import Tensor, _operands, apply, tensor

#: tensors, or groups of them with settings
Params = Iterable[Tensor] | Iterable[Mapping[str, Any]]


def listed(name: str, params: Any, groups: bool = False) -> list[Any]:
    """The Tensors of an argument ``params``, or its ``groups``; TypeError for what is no list of them, a model, say."""
    parent, single = hasattr(params, "parameters"), isinstance(params, (Tensor, Mapping))
    if parent or single or not isinstance(params, Iterable):
        got = "one Tensor" if isinstance(params, Tensor) else kind_of(params)
        if parent:
            got += "; pass its .parameters()"
        elif single and not isinstance(params, Tensor):
            got += "; groups are dicts in a list"
        elif callable(params):
            got += "; call it"
        raise TypeError(f"{name}: expected a list of Tensors, got {got}")
    found = list(params)
    if not (groups and all(isinstance(p, Mapping) for p in found)):
        for i, p in enumerate(found):
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}, parameter {i}: {not_a_tensor(p)}")
    return found


class Optimizer(Explained):
    """Base class of optimizers: parameters, a learning rate, and state tensors for each parameter.

    float16 and bfloat16 parameters are updated in float32 and rounded once a step; their state is float32. An update
    smaller than half the distance to the next float16 number is lost: train float32 parameters where that matters.

    Parameters may be moved to another backend or device (``Module.to``): the state follows at the next step.

    Parameters in groups with settings of their own are given as in PyTorch::

        SGD([{"params": body, "lr": 0.01}, {"params": head}], lr=0.1, momentum=0.9)

    What a group does not set is as for all. ``param_groups`` has the settings, to be read and changed:
    ``optimizer.param_groups[0]["lr"] = 0.001``; ``lr`` and the other attributes are then those of ``groups``.

    Attributes
    ----------
    lr : float
        The learning rate; may be changed at any time.
    steps : Tensor of int64, shape (parameters,)
        Number of updates applied to each parameter so far: a step skips parameters without a gradient.
    """

    #: names of the state tensors of each parameter
    slots: tuple[str, ...] = ()
    _groups: tuple[Optimizer, ...] = ()

    def __init__(self, params: Params, lr: float) -> None:
        self.lr, name = lr, type(self).__name__
        self.params: list[Any] = listed(name, params, groups=True)
        if not self.params:
            raise ValueError(f"{name}: expected at least one parameter, got none")
        grouped = isinstance(self.params[0], Mapping)
        if grouped:
            self._group()
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError(f"{name}: a parameter is given twice")
        if grouped:
            return
        for i, p in enumerate(self.params):
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: parameter {i} is computed from others; pass those, or .detach() it"
                )
            if not writable(p._data):
                raise ValueError(
                    f"{name}: parameter {i} shares memory that must not be written to; copy it with "
                    "minigrad.tensor"
                )
        self.steps = tensor(np.zeros(len(self.params), np.int64), backend=self.params[0].backend)
        self.state: dict[str, list[Tensor]] = {
            slot: [p.widened().filled(0) for p in self.params] for slot in self.slots
        }
        self.require_settings()

    def _group(self) -> None:
        """Make an optimizer of each group; one of a single group is as if it were given without."""
        name, made = type(self).__name__, []
        known = {k: v for k, v in vars(self).items() if k not in ("params", "slots")}
        for i, group in enumerate(self.params):
            if "params" not in group:
                raise ValueError(f"{name}, group {i}: expected 'params', got {sorted(group)}")
            if unknown := sorted(group.keys() - known.keys() - {"params"}):
                raise TypeError(f"{name}, group {i}: unknown {unknown}; expected {sorted(known)}")
            settings: dict[str, Any] = known | dict(group)
            if isinstance(group["params"], Tensor):
                settings["params"] = [group["params"]]
            made.append(type(self)(**settings))
        vars(self).clear()
        if len(made) == 1:
            vars(self).update(vars(made[0]))
            return
        self.params = [p for group in made for p in group.params]
        self._groups = tuple(made)

    @property
    def groups(self) -> tuple[Optimizer, ...]:
        """The optimizers of the groups, or this one alone."""
        return self._groups or (self,)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The attributes of each group by name, ``"params"`` and ``"lr"`` among them; what is assigned counts."""
        return [vars(group) for group in self.groups]

    if not TYPE_CHECKING:  # for which all attributes would exist

        def __getattr__(self, name: str) -> Any:
            kind, count = type(self).__name__, len(self._groups)
            if count and name in vars(self._groups[0]):
                own = f".param_groups[0][{name!r}]"
                raise AttributeError(
                    f"{kind}.{name}: each of the {count} groups has its own; use {own}"
                )
            super().__getattr__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "learning_rate" or (self._groups and name in vars(self._groups[0])):
                self.__getattr__(name)
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        if self._groups:
            lines = ",\n".join(f"  {group!r}" for group in self._groups)
            return f"{type(self).__name__}(\n{lines}\n)"
        count = len(self.params)
        hidden = ("lr", "params", "steps", "state", "slots")
        others = {k: v for k, v in vars(self).items() if k not in hidden and k[0] != "_"}
        settings = [f"{k}={v}" for k, v in {"lr": self.lr, **others}.items()]
        return f"{type(self).__name__}({', '.join(settings)}, {count} parameter{'s' * (count > 1)})"

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters: they become None, or 0 with ``set_to_none=False``."""
        for p in self.params:
            if p._ref is not None:
                p.grad = None if set_to_none or p.grad is None else p.filled(0)

    def require_settings(self) -> None:
        """Raise for settings out of range: when the optimizer is made, and before each step changes anything."""
        require_at_least_0(type(self).__name__, lr=self.lr)

    @explained
    def step(self) -> None:
        """Update every parameter that has a gradient; if anything is wrong, in any group, none."""
        updates: list[tuple[Update, list[Tensor]]] = []
        for group in self.groups:
            grads = [p.grad for p in group.params]
            columns: list[Any] = [group.params, *group.state.values(), grads]
            moved = tuple([i for i, g in enumerate(grads) if g is not None])
            if moved:
                group._follow()
                inputs = [group.steps, *[c[i] for c in columns for i in moved]]
                updates.append((Update(group, moved), inputs))
        for op, inputs in updates:
            op.optimizer.require_settings()
            _operands(op, tuple(inputs))
        for op, inputs in updates:
            apply(op, *inputs)

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        """Update parameters in place with the kernel set ``k``.

        ``steps``: number of updates applied to each of them, this one included. ``columns``: the arrays of the
        parameters, those of each slot, and the gradients.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def state_dict(self) -> dict[str, np.ndarray]:
        """``lr``, ``steps``, and the state as NumPy copies named ``slot.index``; no other settings.

        The names of several groups begin with ``groups.index.``.
        """
        return {name: t.numpy() for name, t in self._tensors().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what ``state_dict`` returned.

        Raises
        ------
        KeyError
            For missing or unexpected names.
        ValueError
            If a shape or dtype differs. Whatever is raised, nothing has been loaded.
        """
        name, own = type(self).__name__, self._tensors()
        require_state(name, state, own.keys())
        load(f"load_state_dict into {name}", own, state, strict=True)
        rates = [t.item() for key, t in own.items() if key.endswith("lr")]
        for group, rate in zip(self.groups, rates, strict=True):
            group.lr = rate

    def _follow(self) -> None:
        """Move the state to where the parameters are; ``steps`` to where the first one is."""
        for ts in ([self.steps], *self.state.values()):
            for t, p in zip(ts, self.params, strict=False):
                if where(t._data) != where(p._data):
                    with beside(p._data), untraced():  # the values stay what they are
                        t.move(p.backend)

    def _tensors(self) -> dict[str, Tensor]:
        """What a state consists of, by name."""
        found: dict[str, Tensor] = {}
        for i, group in enumerate(self.groups):
            at = f"groups.{i}." if self._groups else ""
            found[f"{at}lr"] = tensor(float(group.lr), dtype="float64", backend="numpy")
            found[f"{at}steps"] = group.steps
            for slot, ts in group.state.items():
                found |= {f"{at}{slot}.{k}": t for k, t in enumerate(ts)}
        return found


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
    """Stochastic gradient descent.

    PyTorch's formulas::

        g = grad + weight_decay * p
        v = momentum * v + g
        p = p - lr * (g + momentum * v  if nesterov else  v)

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        See ``Optimizer`` for dicts, groups with settings of their own.
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
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs momentum > 0")
        if nesterov not in (False, True):  # the place of PyTorch's dampening
            raise TypeError(
                f"SGD: expected nesterov as a bool, got {nesterov!r}; there is no dampening"
            )
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()
        super().__init__(params, lr)

    def require_settings(self) -> None:
        super().require_settings()
        require_at_least_0("SGD", momentum=self.momentum, weight_decay=self.weight_decay)
        if self.momentum and not self.slots:
            raise ValueError(
                "SGD: momentum was 0 when the optimizer was made, so it has no velocities; make another with momentum"
            )

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        if self.momentum and not self.slots:  # replays come here alone
            self.require_settings()
        settings = {"momentum": self.momentum, "nesterov": self.nesterov}
        k.sgd(*columns, lr=self.lr, weight_decay=self.weight_decay, **settings)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1).

    PyTorch's defaults; t is the number of updates::

        g = grad + weight_decay * p
        m = b1 * m + (1 - b1) * g                  first moment
        v = b2 * v + (1 - b2) * g^2                second moment
        p = p - lr * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
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
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        super().__init__(params, lr)

    def require_settings(self) -> None:
        super().require_settings()
        name, betas = type(self).__name__, self.betas
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{name}: expected betas as a pair of numbers, got {betas!r}")
        if not all(isinstance(b, (int, float, np.floating)) and 0 <= b < 1 for b in betas):
            raise ValueError(f"{name}: expected betas in [0, 1), got {betas}")
        require_at_least_0(name, eps=self.eps, weight_decay=self.weight_decay)

    def update(self, k: Any, steps: Any, *columns: tuple[Any, ...]) -> None:
        settings = {"betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}
        k.adam(*columns, lr=self.lr, steps=steps, **settings)
