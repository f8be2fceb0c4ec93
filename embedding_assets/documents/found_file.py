"""A file that was found: on this machine, or at another one that it is fetched from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedding_assets.documents.file_state import FileState, file_state


class FoundFile(Protocol):
    """A file to read, and what its document is called."""

    @property
    def origin(self) -> str:
        """What its document is called."""
        ...

    def state(self) -> FileState:
        """What it holds now: its content, or only its mark where that spares fetching it.

        Raises:
            OSError: it cannot be read.
        """
        ...

    def local(self) -> AbstractContextManager[LocalFile]:
        """The file on this machine; one that was fetched is removed afterwards.

        Raises:
            OSError: it cannot be fetched.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine.

    Attributes:
        path: where it lies.
        origin: what its document is called.
        mark: of one that was fetched, see ``FileState``.
    """

    path: Path
    origin: str
    mark: str | None = None

    def state(self) -> FileState:
        """What it holds now, by reading it.

        Raises:
            OSError: it cannot be read.
        """
        return file_state(self.path, self.mark)

    @contextmanager
    def local(self) -> Iterator[LocalFile]:
        """Itself."""
        yield self
