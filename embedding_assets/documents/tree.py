"""Folders and the files in them, wherever they are, as a walk through them needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from embedding_assets.documents.ignoring import IgnoreFile

F_co = TypeVar("F_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in a folder.

    Attributes:
        name: of a file or folder.
        path: as its tree has it, with slashes between the parts.
        is_folder: whether it is one that may be entered.
        special: what it is if it is neither of both, in the plural.
    """

    name: str
    path: str
    is_folder: bool
    special: str | None = None


class Tree(Protocol[F_co]):
    """Folders and files."""

    @property
    def top(self) -> str:
        """Path of the uppermost folder, which those of all others begin with."""
        ...

    def entries(self, folder: str) -> Iterable[Entry]:
        """What is in a folder, in any order.

        Raises:
            OSError: that cannot be found out.
        """
        ...

    def has(self, path: str) -> bool:
        """Whether there is a file at that path."""
        ...

    def ignore_files_above(self) -> Sequence[IgnoreFile]:
        """The .gitignore files of folders around the uppermost one that count for it."""
        ...

    def ignore_file(self, folder: str) -> Sequence[IgnoreFile]:
        """The .gitignore in a folder.

        Raises:
            OSError: it is there, and cannot be had now.
        """
        ...

    def file(self, path: str, origin: str) -> F_co:
        """A file that is to be read, and what its document is called."""
        ...
