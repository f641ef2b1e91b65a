"""Convert state dicts to and from PyTorch's names, as NumPy arrays; PyTorch itself is not needed.

Layouts are equal: a Linear's weight is (out, in) in both, a Conv2d's (out, in / groups, height, width). Names are those
that PyTorch gives the same modules under the same attributes (torch.nn.Module.state_dict); in batch norm and its
siblings gamma is called weight, beta bias, and num_batches num_batches_tracked; a GRU's names end in ``_l0``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .bn.variants import FrozenBatchNorm
from .nn.batch_norm import BatchNorm
from .nn.module import Buffer, Loaded, Module, Parameter, load, members
from .nn.normalization import GroupNorm, InstanceNorm, LayerNorm
from .nn.recurrent import GRU

NORMS = BatchNorm, FrozenBatchNorm, LayerNorm, GroupNorm, InstanceNorm
NAMES = {"gamma": "weight", "beta": "bias", "num_batches": "num_batches_tracked"}
GRU_NAMES = {n: f"{n}_l0" for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
SETTINGS = ("eps", "momentum", "ddof_running", "num_groups")
DEFAULTS = {"eps": 1e-5, "momentum": 0.1, "ddof_running": 1}


def to_torch(module: Module) -> dict[str, np.ndarray]:
    """Copy the state of a module under PyTorch's names; a shared tensor appears under each of its names.

    To load it there: ``model.load_state_dict({name: torch.from_numpy(a) for name, a in state.items()})``, or through a
    file, ``minigrad.save`` here and ``safetensors.torch.load_file`` there.

    Examples
    --------
    >>> import minigrad as mg
    >>> list(to_torch(mg.nn.Sequential(mg.nn.Linear(3, 2), mg.nn.LayerNorm(2))))
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """
    return {name: t.numpy() for name, t in _named(module, "")}


def from_torch(module: Module, state: Any, strict: bool = True) -> Loaded:
    """Load a state with PyTorch's names into a module, in place, and return ``missing_keys`` and ``unexpected_keys``.

    ``state`` maps names to torch tensors, NumPy arrays or Tensors: what ``state_dict()`` returns there, or
    ``minigrad.load`` for a file of ``safetensors.torch.save_file``; or it is the torch.nn.Module itself. With
    ``strict=False`` the common names are loaded. A state does not contain eps, momentum and num_groups: a UserWarning
    names normalization layers whose settings differ from the torch module's, or from PyTorch's defaults if ``state`` is
    a mapping. ``minigrad.nn.BatchNorm1d/2d/3d`` and ``BatchNorm.like("torch", n)`` have those; for any other here,
    build PyTorch's as ``BatchNorm2d(n, eps=eps, momentum=1 - momentum)``.

    Raises
    ------
    KeyError, ValueError, TypeError
        For missing or unexpected names, another shape or dtype, or a dtype that NumPy lacks (bfloat16). Whatever is
        raised, nothing has been loaded.
    """
    into = f"from_torch into {type(module).__name__}"
    theirs = None if isinstance(state, Mapping) else dict(state.named_modules())
    state = state if theirs is None else state.state_dict()
    found = load(into, dict(_named(module, "")), state, strict)
    reports = list(_differences(module, state, theirs))
    if reports:
        default = "" if theirs else " (its defaults: a state dict does not say; pass the module)"
        warnings.warn(
            f"{into}: in PyTorch's terms, {'; '.join(reports)}{default}. They compute different numbers unless both "
            "are built alike; minigrad's momentum is 1 - PyTorch's, and minigrad.nn.BatchNorm1d/2d/3d have "
            "PyTorch's defaults and momentum",
            stacklevel=2,
        )
    return found


def _differences(module: Module, state: Mapping[str, Any], theirs: Any) -> Iterator[str]:
    """Describe normalization layers whose settings differ from PyTorch's modules, or from its defaults."""
    for name, layer in _named(module, "", NORMS):
        names = [key for key, _ in _named(layer, name)]
        twin = None if theirs is None else theirs.get(name)
        if (names and not any(key in state for key in names)) or (theirs and twin is None):
            continue
        ours = {key: getattr(layer, key) for key in SETTINGS if hasattr(layer, key)}
        if ours.get("momentum") is not None:
            ours["momentum"] = 1 - ours["momentum"]
        torchs = {key: getattr(twin, key, DEFAULTS.get(key, v)) for key, v in ours.items()}
        texts = [
            [f"{key}={v if v is None else f'{v:.6g}'}" for key, v in settings.items()]
            for settings in (ours, torchs)
        ]
        differing = [(a, b) for a, b in zip(*texts, strict=True) if a != b]
        if differing:
            here, there = (", ".join(words) for words in zip(*differing, strict=True))
            title = f"{type(layer).__name__} {name!r}" if name else type(layer).__name__
            yield f"{title} has {here}, and PyTorch's {there}"


def _named(
    value: Any, name: str, kinds: tuple[type, ...] = (Parameter, Buffer)
) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers, or ``kinds``, in ``value``, by the names that PyTorch would give them."""
    if isinstance(value, kinds):
        yield name, value
        return
    for child, v in members(value.registered()) if isinstance(value, Module) else ():
        names = NAMES if isinstance(value, NORMS) else GRU_NAMES if isinstance(value, GRU) else {}
        own = names.get(child, child)
        yield from _named(v, f"{name}.{own}" if name else own, kinds)
