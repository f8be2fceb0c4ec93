"""Files of other machines, fetched into a private folder a few ahead of their turn."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.stores.loop import result_of, start
from embedding_assets.documents.temporary_file import kept_suffix
from embedding_assets.documents.temporary_folder import TemporaryFolder

if TYPE_CHECKING:
    from embedding_assets.documents.found_file import RemoteFile

MOST_FILES: Final = 8
"""Fetched at a time, and not read to their end."""

_MOST_BYTES: Final = 1_000_000_000
"""Of several of them; a larger one is fetched alone."""

_ENDED_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Fetched:
    path: Path
    size: int
    file: Future[LocalFile]


class Fetcher:
    """Fetches files; with its context end those under way, and all that were fetched are removed."""

    def __init__(self) -> None:
        self._folder: TemporaryFolder | None = None
        self._count = 0
        self._held: dict[str, _Fetched] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        under_way = [one.file for one in self._held.values()]
        for future in under_way:
            future.cancel()
        wait(under_way, _ENDED_SECONDS)
        if self._folder is not None:
            self._folder.remove()

    @property
    def holds_any(self) -> bool:
        """Whether there are files under way, or fetched and not released."""
        return bool(self._held)

    def has_room(self, file: RemoteFile) -> bool:
        """Whether one more may be fetched before others are released."""
        sizes = [one.size for one in self._held.values()]
        return not sizes or (len(sizes) < MOST_FILES and sum(sizes) + file.size <= _MOST_BYTES)

    def begin(self, file: RemoteFile) -> None:
        """Begin to fetch a file; ``take`` and ``release`` must follow."""
        if self._folder is None:
            self._folder = TemporaryFolder()
        self._count += 1
        path = self._folder.path / f"{self._count}{kept_suffix(file.origin)}"
        self._held[file.origin] = _Fetched(path, file.size, start(file.fetch(path)))

    def is_fetched(self, file: RemoteFile) -> bool:
        """Whether ``take`` need not wait."""
        return self._held[file.origin].file.done()

    def take(self, file: RemoteFile) -> LocalFile:
        """The file on this machine, once it was fetched.

        Raises:
            OSError: it cannot be had; it is released then.
        """
        try:
            return result_of(self._held[file.origin].file)
        except OSError:
            self.release(file.origin)
            raise

    def release(self, origin: str) -> None:
        """Remove a file that was fetched; any other stays."""
        held = self._held.pop(origin, None)
        if held is not None:
            held.path.unlink(missing_ok=True)
