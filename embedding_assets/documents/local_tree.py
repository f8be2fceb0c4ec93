"""Folders of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.ignoring import GITIGNORE, IgnoreFile, parsed_ignore_file
from embedding_assets.documents.tree import Entry

if TYPE_CHECKING:
    from embedding_assets.documents.collections import LocalRoot


class LocalTree:
    """The folder of a root; see ``Tree``. Links to files count as files.

    Those to folders do not count as folders: they may lead back up and never end.
    """

    def __init__(self, root: LocalRoot) -> None:
        self._root = root.path

    @property
    def top(self) -> str:
        """Path of the uppermost folder, which those of all others begin with."""
        return str(self._root)

    def entries(self, folder: str) -> Iterable[Entry]:
        """What is in a folder, in any order.

        Raises:
            OSError: that cannot be found out.
        """
        with os.scandir(folder) as found:
            return [_entry(one) for one in found]

    def has(self, path: str) -> bool:
        """Whether there is a file at that path."""
        return os.path.lexists(path)

    def ignore_files_above(self) -> Sequence[IgnoreFile]:
        """Those of the folders around it that are in the same git checkout, the outermost first."""
        found: list[IgnoreFile] = []
        if (self._root / ".git").exists():
            return found
        for parent in self._root.parents:
            found = [*self.ignore_file(str(parent)), *found]
            if (parent / ".git").exists():
                return found
        return []

    def ignore_file(self, folder: str) -> Sequence[IgnoreFile]:
        """The one in a folder, if it has one that can be read."""
        try:
            with Path(folder, GITIGNORE).open(encoding="utf-8", errors="surrogateescape") as stream:
                return [parsed_ignore_file(folder, stream.read(1_000_000))]
        except OSError:
            return []

    def file(self, path: str, origin: str) -> LocalFile:
        """A file that is to be read, and what its document is called."""
        return LocalFile(Path(path), origin)


def _entry(entry: os.DirEntry[str]) -> Entry:
    is_folder = _is_folder(entry)
    return Entry(entry.name, entry.path, is_folder, None if is_folder else _special(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _special(entry: os.DirEntry[str]) -> str | None:
    """What an entry is that is neither a file nor a folder; None of one that is a file, or may be."""
    try:
        if entry.is_file(follow_symlinks=False):
            return None  # as its folder says: nothing has to be asked about it
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "links that lead nowhere" if entry.is_symlink() else None
    except OSError:
        return "links in a circle" if entry.is_symlink() else None
    if stat.S_ISDIR(mode):
        return "linked folders"
    return None if stat.S_ISREG(mode) else "pipes, sockets and devices"
