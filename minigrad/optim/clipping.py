"""Clipping of gradients by their norm."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..messages import require_at_least_0
from ..ops.arithmetic import minimum
from ..ops.shape import stack
from ..tape import no_grad
from ..tensor import Tensor, tensor
from .optimizers import listed


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale the gradients of all parameters so that their norm, as of one vector, is at most ``max_norm``.

    As ``torch.nn.utils.clip_grad_norm_``: gradients are multiplied by ``min(1, max_norm / (norm + 1e-6))``. No value is
    read on the host, so it works in ``capture`` and ``jit``, between ``backward()`` and ``optimizer.step()``.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensors
        Those without a gradient are passed over.
    max_norm : float
    norm_type : float
        ``p`` of the p-norm; infinity for the largest absolute value.
    error_if_nonfinite : bool
        Whether to raise RuntimeError, before anything is scaled, if the norm is NaN or infinite. This reads it on the
        host.

    Returns
    -------
    Tensor, shape ()
        The norm before; 0 if there are no gradients.

    Examples
    --------
    >>> import minigrad as mg
    >>> w = mg.tensor([3, 4], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> mg.optim.clip_grad_norm_([w], max_norm=1), w.grad
    (Tensor(5.), Tensor([0.5999999 , 0.79999983]))
    """
    name = "clip_grad_norm_"
    params = [parameters] if isinstance(parameters, Tensor) else listed(name, parameters)
    require_at_least_0(name, max_norm=max_norm, norm_type=norm_type)
    if not norm_type:
        raise ValueError(f"{name}: expected norm_type > 0, got {norm_type}")
    found = [(p, g) for p in params if (g := p.grad) is not None]
    if not found:
        return tensor(0.0)
    with no_grad():
        total = _norm([g.widened() for _, g in found], float(norm_type))
        if error_if_nonfinite and not np.isfinite(total.item()):
            raise RuntimeError(f"{name}: the norm of the gradients is {total.item()}")
        factor = minimum(max_norm / (total + 1e-6), 1)
        for p, g in found:
            p.grad = (g.widened() * factor.astype(g.widened().dtype)).astype(g.dtype)
    return total


def _norm(gradients: list[Tensor], p: float) -> Tensor:
    """The p-norm of all numbers of these tensors, in the widest of their dtypes."""
    dtype = max((g.dtype for g in gradients), key=lambda d: d.itemsize)
    if p == np.inf:
        return stack([g.abs().max().astype(dtype) for g in gradients if g.size]).max()
    if p == 2:
        return stack([(g * g).sum().astype(dtype) for g in gradients]).sum().sqrt()
    return stack([(g.abs() ** p).sum().astype(dtype) for g in gradients]).sum() ** (1 / p)
