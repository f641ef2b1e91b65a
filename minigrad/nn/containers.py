"""Lists and dicts of modules under PyTorch's names; plain ones in an attribute are registered as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any

from .module import Container, Module, require_module


class ModuleList(Container, MutableSequence[Module]):
    """A list of modules, with a list's methods; ``blocks.0.weight`` names what is in it, as for a plain list.

    Parameters
    ----------
    modules : iterable of Modules

    Examples
    --------
    >>> import minigrad as mg
    >>> blocks = mg.nn.ModuleList(mg.nn.Linear(4, 4) for _ in range(3))
    >>> blocks.append(mg.nn.Linear(4, 2))
    >>> len(blocks), list(blocks[1:3].state_dict())
    (4, ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        if not isinstance(modules, Iterable):
            raise TypeError(f"ModuleList: expected a list of Modules, got {modules!r}")
        self.layers = []
        self.extend(modules)

    def __getitem__(self, index: Any) -> Any:
        found = self.layers[index]
        return ModuleList(found) if isinstance(found, list) else found

    def __setitem__(self, index: Any, value: Any) -> None:
        items = list(value) if isinstance(index, slice) else [value]
        for item in items:
            require_module("ModuleList: expected Modules", item)
        self.layers[index] = items if isinstance(index, slice) else value

    def insert(self, index: int, value: Module) -> None:
        """Insert a module before ``index``."""
        require_module("ModuleList: expected Modules", value)
        self.layers.insert(index, value)


class ModuleDict(Container, MutableMapping[str, Module]):
    """A dict of modules, with a dict's methods; ``heads.left.weight`` names what is in it, as for a plain dict.

    Parameters
    ----------
    modules : mapping of names to Modules, or iterable of such pairs

    Examples
    --------
    >>> import minigrad as mg
    >>> heads = mg.nn.ModuleDict({"left": mg.nn.Linear(4, 2)})
    >>> heads["right"] = mg.nn.Identity()
    >>> list(heads), list(heads.state_dict())
    (['left', 'right'], ['left.weight', 'left.bias'])
    """

    __hash__ = Module.__hash__
    __eq__ = Module.__eq__

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self.layers = {}
        self.update(modules)

    def __getitem__(self, name: str) -> Module:
        return self.layers[name]

    def __setitem__(self, name: str, value: Module) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"ModuleDict: expected names without dots, got {name!r}")
        require_module("ModuleDict: expected Modules", value)
        self.layers[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)
