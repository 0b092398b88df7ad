"""Folders that the page may read from: a path is looked up and completed inside them only."""

import itertools
import os
from collections.abc import Iterator, Set
from pathlib import Path

from ttt3r_viewer.errors import InputError
from ttt3r_viewer.system.text import printable

MOST_COMPLETIONS = 20
MOST_ENTRIES = 5000
"""Of a folder that are looked at."""


class AllowedFolders:
    """Some folders and all that lies in them; a link that leads out of them is not in them."""

    def __init__(self, *folders: Path) -> None:
        """Relative paths begin at the first folder. One that is not there yet may come later."""
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))

    def find(self, text: str) -> Path:
        """Return the real path of what a text names. Raises `InputError` where it is not inside,
        in the same words whether or not there is such a path.
        """
        path = self._real(text)
        if path is None or not self._holds(path):
            raise InputError(
                f"{printable(text[:200])} is not inside {self.in_words}: name a path in there, or "
                "start the program in the folder that holds it"
            )
        if not path.exists():
            raise InputError(f"there is no file or folder {printable(text[:200])}")
        return path

    def complete(self, text: str, suffixes: Set[str]) -> list[str]:
        """Return paths inside that begin with a text: folders, which end with a slash, and files
        with one of the suffixes. Hidden ones are left out, and so is what nobody may read.
        """
        if not text.strip():
            return [f"{folder}{os.sep}" for folder in self.folders if folder.is_dir()]
        head, _, begin = text.rpartition("/")
        folder = self._real(f"{head}/" if "/" in text else ".")
        if folder is None or not self._holds(folder):
            return [f"{one}{os.sep}" for one in self.folders if str(one).startswith(text)]
        found = (
            f"{head}/{name}" if "/" in text else name
            for name in self._entries(folder, suffixes)
            if name.casefold().startswith(begin.casefold())
        )
        return list(itertools.islice(found, MOST_COMPLETIONS))

    @property
    def in_words(self) -> str:
        """The folders, for people."""
        outermost = (
            one
            for one in self.folders
            if not any(one.is_relative_to(other) for other in self.folders if other != one)
        )
        return " or ".join(printable(str(folder)) for folder in outermost)

    def _real(self, text: str) -> Path | None:
        try:
            return (self.folders[0] / Path(text).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError):  # a loop of links, a zero byte, nobody's home
            return None

    def _holds(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self.folders)

    def _entries(self, folder: Path, suffixes: Set[str]) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in itertools.islice(entries, MOST_ENTRIES))
        except OSError:
            return
        for name in names:
            path = self._real(str(folder / name))
            if name.startswith(".") or path is None or not self._holds(path):
                continue
            if path.is_dir():
                yield f"{name}/"
            elif path.suffix.lower() in suffixes:
                yield name
