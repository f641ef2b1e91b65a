"""State dicts to and from PyTorch's names, as NumPy arrays; PyTorch itself is not needed.

Layouts are equal: a Linear's weight is (out, in) in both, a Conv2d's (out, in / groups, height, width). Names are those
that PyTorch gives the same modules under the same attributes (torch.nn.Module.state_dict); only those of batch norm and
its siblings differ::

    gamma        weight
    beta         bias
    num_batches  num_batches_tracked

A state says nothing of eps and momentum. ``minigrad.nn.BatchNorm.like("torch", n)`` has PyTorch's defaults; for any
other here, build PyTorch's as ``BatchNorm2d(n, eps=eps, momentum=1 - momentum)``. ``from_torch`` warns where they
differ; given PyTorch's module instead of its state, it compares with that one, else with the defaults.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

import numpy as np

from .bn.variants import FrozenBatchNorm
from .nn.batch_norm import BatchNorm
from .nn.module import Buffer, Loaded, Module, Parameter, load, members
from .nn.normalization import GroupNorm, InstanceNorm, LayerNorm

NORMS = BatchNorm, FrozenBatchNorm, LayerNorm, GroupNorm, InstanceNorm
NAMES = {"gamma": "weight", "beta": "bias", "num_batches": "num_batches_tracked"}


def to_torch(module: Module) -> dict[str, np.ndarray]:
    """The state of a module under PyTorch's names.

    Parameters
    ----------
    module : Module

    Returns
    -------
    dict of names to NumPy arrays
        Copies. A tensor that stands in several places is there under each of its names, as in PyTorch. To load them
        there: ``model.load_state_dict({name: torch.from_numpy(a) for name, a in state.items()})``, or through a file,
        ``minigrad.save`` here and ``safetensors.torch.load_file`` there.

    Examples
    --------
    >>> import minigrad as mg
    >>> model = mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.BatchNorm.like("torch", 2))
    >>> for name, array in to_torch(model).items():
    ...     print(name, array.shape)
    0.weight (2, 3)
    0.bias (2,)
    1.weight (2,)
    1.bias (2,)
    1.running_mean (2,)
    1.running_var (2,)
    1.num_batches_tracked ()
    """
    return {name: t.numpy() for name, t in _named(module, "")}


def from_torch(module: Module, state: Any, strict: bool = True) -> Loaded:
    """Take over a state with PyTorch's names, in place.

    Parameters
    ----------
    module : Module
    state : mapping of names to torch tensors, NumPy arrays or Tensors; or torch.nn.Module
        What ``state_dict()`` gives there, or ``minigrad.load`` from a file that ``safetensors.torch.save_file`` wrote.
        Of a module its ``state_dict()``.
    strict : bool
        Whether every name must be there and none be left over; if False, those in common are loaded.

    Returns
    -------
    Loaded
        ``missing_keys`` and ``unexpected_keys``: the names here that ``state`` has not, and the reverse.

    Warns
    -----
    UserWarning
        For normalization layers with another eps, momentum or num_groups than the torch module's: outputs differ then.
        A state dict does not say them, so that PyTorch's defaults are compared with.

    Raises
    ------
    KeyError
        For missing or unexpected names, if strict.
    ValueError
        If a shape or dtype differs.
    TypeError
        For a tensor of a dtype that NumPy does not have (bfloat16). Whatever is raised, nothing has been loaded.

    Examples
    --------
    >>> import minigrad as mg
    >>> bn = mg.nn.BatchNorm.like("torch", 2)
    >>> from_torch(bn, {"weight": mg.tensor([1, 2])}, strict=False).missing_keys
    ['bias', 'running_mean', 'running_var', 'num_batches_tracked']
    >>> bn.gamma
    Tensor([1., 2.], requires_grad=True)
    """
    into = f"from_torch into {type(module).__name__}"
    theirs = None if isinstance(state, Mapping) else dict(state.named_modules())
    state = state if theirs is None else state.state_dict()
    found = load(into, dict(_named(module, "")), state, strict)
    _warn_of_settings(into, module, state, theirs)
    return found


def _warn_of_settings(into: str, module: Module, state: Mapping[str, Any], theirs: Any) -> None:
    """Warn of normalization layers that PyTorch's modules ``theirs``, or its defaults, compute otherwise."""
    reports = []
    for name, layer in _named(module, "", NORMS):
        names = [key for key, _ in _named(layer, name)]
        twin = None if theirs is None else theirs.get(name)
        if (names and not any(key in state for key in names)) or (theirs and twin is None):
            continue
        ours = _in_torchs_terms(layer)
        torchs = {k: getattr(twin, k, _TORCH.get(k, v)) for k, v in ours.items()}
        differing = [k for k in ours if not _same(ours[k], torchs[k])]
        if differing:
            here, there = (
                ", ".join(f"{k}={v[k] if v[k] is None else f'{v[k]:.6g}'}" for k in differing)
                for v in (ours, torchs)
            )
            title = f"{type(layer).__name__} {name!r}" if name else type(layer).__name__
            reports.append(f"{title} has {here}, and PyTorch's {there}")
    if reports:
        default = "" if theirs else " (its defaults: a state dict does not say; pass the module)"
        warnings.warn(
            f"{into}: in PyTorch's terms, {'; '.join(reports)}{default}. They compute different numbers unless both "
            "are built alike; minigrad's momentum is 1 - PyTorch's, and minigrad.nn.BatchNorm.like('torch', n) has "
            "PyTorch's defaults",
            stacklevel=3,
        )


_TORCH = {"eps": 1e-5, "momentum": 0.1, "ddof_running": 1}


def _in_torchs_terms(layer: Any) -> dict[str, Any]:
    """What a state does not say of a normalization layer, under PyTorch's names."""
    settings = {"eps": layer.eps}
    if isinstance(layer, BatchNorm):
        momentum = layer.momentum
        settings["momentum"] = None if momentum is None else 1 - momentum
        settings["ddof_running"] = layer.ddof_running
    if isinstance(layer, GroupNorm):
        settings["num_groups"] = layer.num_groups
    return settings


def _same(a: Any, b: Any) -> bool:
    return a is b if a is None or b is None else isclose(a, b)


def _named(
    value: Any, name: str, kinds: tuple[type, ...] = (Parameter, Buffer)
) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers, or others, at and below ``value``, by the names that PyTorch would give them."""
    if isinstance(value, kinds):
        yield name, value
        return
    for child, v in members(value.registered()) if isinstance(value, Module) else ():
        own = NAMES.get(child, child) if isinstance(value, NORMS) else child
        yield from _named(v, f"{name}.{own}" if name else own, kinds)
