"""A data set's files: the folder you name, a data folder or a cache they lie in, else the network."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..files import write_whole
from .download import fetch


@dataclass(frozen=True)
class Source:
    """Where a data set is published, and the files it consists of.

    Attributes
    ----------
    title : str
        Its name, for people.
    function : str
        The name of the function that reads it.
    folder : str
        The name of its folder under ``MINIGRAD_DATA`` and in the cache.
    mirrors : tuple of str
        The addresses of the folders it is published in, each ending in a slash.
    files : mapping of str to (int, str)
        The names of the published files, with their sizes in bytes and SHA-256.
    splits : mapping of str to mapping of str to str
        For each split the names of its files, each with that of the published file it is packed in.
    """

    title: str
    function: str
    folder: str
    mirrors: tuple[str, ...]
    files: Mapping[str, tuple[int, str]]
    splits: Mapping[str, Mapping[str, str]]

    def find(
        self, split: str, root: str | os.PathLike[str] | None, download: bool
    ) -> dict[str, Path]:
        """Return where each file of a split lies, as it is or packed, after downloading what is missing.

        All come from one folder, the first that has them all: ``root`` if it is given, and then no
        other; else the one under ``MINIGRAD_DATA``, then the one in the cache. Downloads go into
        the first of these, each checked against its SHA-256 and then written whole.

        Returns
        -------
        dict of str to Path
            For each name in ``splits[split]`` the file of that name, or where there is none the
            published one, as the ends of the paths tell.

        Raises
        ------
        ValueError
            If ``split`` is unknown.
        FileNotFoundError
            If files are missing and ``download`` is False.
        ConnectionError
            If files are missing and no mirror could provide them.
        OSError
            If a download cannot be written.
        """
        if split not in self.splits:
            known = " or ".join(map(repr, self.splits))
            raise ValueError(f"split must be {known}, but is {split!r}")
        folders = [Path(root).expanduser()] if root is not None else self._default_folders()
        # All from one folder: the labels of one copy need not fit the images of another.
        complete = (folder for folder in folders if not self._missing(split, folder))
        folder = next(complete, folders[0])
        if self._missing(split, folder) and not download:
            looked = " or ".join(str(folder) for folder in folders)
            raise FileNotFoundError(
                f"{self.title}'s {split} split is not in {looked}, and download=False.\n"
                + self._by_hand(split, folder)
            )
        self._download(split, folder)
        return self._paths(split, folder)

    def _default_folders(self) -> list[Path]:
        named = os.environ.get("MINIGRAD_DATA")
        variable, usual = "XDG_CACHE_HOME", ".cache"
        if sys.platform == "win32":
            variable, usual = "LOCALAPPDATA", "AppData/Local"
        cache = Path(os.environ.get(variable) or Path.home() / usual, "minigrad", self.folder)
        return [Path(named, self.folder), cache] if named else [cache]

    def _paths(self, split: str, folder: Path) -> dict[str, Path]:
        """Return each file as it lies there, and for a missing one the path of its download."""
        return {
            name: folder / (name if (folder / name).is_file() else packed)
            for name, packed in self.splits[split].items()
        }

    def _missing(self, split: str, folder: Path) -> dict[str, Path]:
        return {
            name: path for name, path in self._paths(split, folder).items() if not path.is_file()
        }

    def _by_hand(self, split: str, folder: Path) -> str:
        missing = self._missing(split, folder)
        packed = " and ".join(dict.fromkeys(path.name for path in missing.values()))
        return (
            f"Put {packed} into the folder {folder}, as published at {self.mirrors[0]}, "
            f"or unpacked: {', '.join(missing)}. "
            f"Or name another folder that holds them: as {self.function}(root=...), or as the "
            f"subfolder {self.folder} of the folder in the environment variable MINIGRAD_DATA."
        )

    def _download(self, split: str, folder: Path) -> None:
        for path in dict.fromkeys(self._missing(split, folder).values()):
            try:
                content = fetch(path.name, self.mirrors, *self.files[path.name])
            except ConnectionError as error:
                raise ConnectionError(
                    f"{self.title}'s {error}\n"
                    "Try again, or without a network: " + self._by_hand(split, folder)
                ) from error.__cause__
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
