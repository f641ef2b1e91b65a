"""State dicts to and from PyTorch's names, as NumPy arrays; PyTorch itself is not needed.

Layouts are equal: a Linear's weight is (out, in) in both, a Conv2d's (out, in / groups, height, width). Names are those
that PyTorch gives the same modules under the same attributes (torch.nn.Module.state_dict); only those of batch norm and
its siblings differ::

    gamma        weight
    beta         bias
    num_batches  num_batches_tracked

A state says nothing of epsilon and momentum: ``minigrad.nn.BatchNorm.like("torch", n)`` has PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .nn.batch_norm import BatchNorm
from .nn.module import Buffer, Module, Parameter, members
from .nn.normalization import GroupNorm, InstanceNorm, LayerNorm
from .nn.variants import FrozenBatchNorm
from .tensor import Tensor

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


def from_torch(module: Module, state: Mapping[str, Any], strict: bool = True) -> None:
    """Take over a state with PyTorch's names, in place.

    Parameters
    ----------
    module : Module
    state : mapping of names to torch tensors, NumPy arrays or Tensors
        What ``state_dict()`` gives there, or ``minigrad.load`` from a file that ``safetensors.torch.save_file`` wrote.
    strict : bool
        Whether every name must be there and none be left over; if False, those in common are loaded.

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
    >>> from_torch(bn, {"weight": mg.tensor([1, 2])}, strict=False)
    >>> bn.gamma
    Tensor([1., 2.], requires_grad=True)
    """
    into = f"from_torch into {type(module).__name__}"
    own = dict(_named(module, ""))
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    if strict and (missing or unexpected):
        raise KeyError(
            f"{into}: missing {missing or 'nothing'}, unexpected {unexpected or 'nothing'}; "
            "strict=False loads what is in common"
        )
    arrays = {}
    for name, t in own.items():
        if name in missing:
            continue
        try:
            array = _numpy(state[name])
        except TypeError as error:
            raise TypeError(f"{into}: {name}: {error}") from error
        if array.shape != t.shape or array.dtype != t.dtype:
            raise ValueError(
                f"{into}: expected {name} of shape {t.shape} and dtype {t.dtype}, "
                f"got {array.shape} and {array.dtype}"
            )
        arrays[name] = array
    for name, array in arrays.items():
        own[name].load(array)


def _named(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers at and below ``value``, by the names that PyTorch would give them."""
    if isinstance(value, (Parameter, Buffer)):
        yield name, value
        return
    for child, v in members(value.registered()) if isinstance(value, Module) else ():
        own = NAMES.get(child, child) if isinstance(value, NORMS) else child
        yield from _named(v, f"{name}.{own}" if name else own)


def _numpy(value: Any) -> np.ndarray:
    """A torch tensor, wherever it is, a Tensor, or an array, as a NumPy array."""
    for step in ("detach", "cpu", "numpy"):
        if hasattr(value, step):
            value = getattr(value, step)()
    return np.asarray(value)
