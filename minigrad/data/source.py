"""Locate the files of a data set: in a given folder, the data folder or the cache; else download them with pooch."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A published data set.

    ``mirrors`` are the addresses of the folders it is published in, each ending in a slash; ``hashes`` the published
    files with their SHA-256; ``splits`` names for each split its files, each with the published file it is packed in.
    """

    title: str
    mirrors: tuple[str, ...]
    hashes: Mapping[str, str]
    splits: Mapping[str, Mapping[str, str]]

    def find(
        self, split: str, root: str | os.PathLike[str] | None, download: bool
    ) -> dict[str, Path]:
        """The path of each file of a split, or of the file that contains it.

        Folders, downloads and errors are those that ``mnist`` describes.
        """
        if split not in self.splits:
            known = " or ".join(map(repr, self.splits))
            raise ValueError(f"split must be {known}, but is {split!r}")
        folders = self._default_folders() if root is None else [Path(root).expanduser()]
        files = self.splits[split].items()
        copies = [
            {n: f / (n if (f / n).is_file() else packed) for n, packed in files} for f in folders
        ]
        # All from one folder: the labels of one copy need not fit the images of another.
        complete = (paths for paths in copies if all(p.is_file() for p in paths.values()))
        paths = next(complete, copies[0])
        missing = [p for p in dict.fromkeys(paths.values()) if not p.is_file()]
        by_hand = (
            f"put {' and '.join(p.name for p in missing)} into the folder {folders[0]}, as published at "
            f"{self.mirrors[0]} or unpacked, or name the folder that holds them with root=... or, "
            f"as its subfolder {self.title.lower()}, the environment variable MINIGRAD_DATA"
        )
        if missing and not download:
            looked = " or ".join(map(str, folders))
            raise FileNotFoundError(
                f"{self.title}'s {split} split is not in {looked}, and download=False: {by_hand}"
            )
        for path in missing:
            if reasons := self._download(path):
                raise ConnectionError(
                    f"{self.title}'s {path.name} could not be downloaded:{reasons}\n"
                    f"Try again, or without a network {by_hand}"
                )
        return paths

    def _default_folders(self) -> list[Path]:
        windows = sys.platform == "win32"
        cache = os.environ.get("LOCALAPPDATA" if windows else "XDG_CACHE_HOME")
        usual = Path.home() / ("AppData/Local" if windows else ".cache")
        bases = os.environ.get("MINIGRAD_DATA"), Path(cache or usual, "minigrad")
        return [Path(base, self.title.lower()) for base in bases if base]

    def _download(self, path: Path) -> str:
        """Download a file from the first mirror with the right hash; if none has it, return the reasons."""
        try:
            import pooch
            from requests import RequestException
        except ImportError as error:
            raise ImportError(
                f'{self.title} is downloaded with pooch: install it with pip install "minigrad-bn[data]"'
            ) from error
        sha256, bar, reasons = self.hashes[path.name], find_spec("tqdm") is not None, ""
        for mirror in self.mirrors:
            url = mirror + path.name
            try:
                pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, progressbar=bar)
                path.chmod(path.parent.stat().st_mode & 0o666)  # pooch's files are private
                return ""
            except (RequestException, ValueError) as error:  # ValueError: another hash
                reasons += f"\n  {mirror}: {error}"
        return reasons
