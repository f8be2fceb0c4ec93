"""Files that are to be loaded: fetched and read ahead of their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from embedding_assets.documents.fetching import Fetcher
from embedding_assets.documents.found_file import FoundFile, LocalFile

if TYPE_CHECKING:
    from embedding_assets.documents.file_reader import FileReader
    from embedding_assets.documents.file_state import FileState
    from embedding_assets.documents.root import Root
    from embedding_assets.postgres.documents import KnownDocument

_AHEAD_FILES: Final = 1_024
"""They are read while others are stored, of which there are about as many at a time."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file to be loaded.

    Attributes:
        root: where it was found.
        file: the file itself.
        state: what it held.
        before: what is in the table of it.
    """

    root: Root
    file: FoundFile
    state: FileState
    before: KnownDocument | None


class ReadAhead:
    """Has files of other machines fetched, and all of them read, before it is their turn.

    With its context ends whatever is under way, and what was fetched is removed.

    Args:
        reader: reads them.
        is_to_load: whether a file, now that its content is known, has to be loaded still.
        on_fail: called with a file that cannot be fetched.
    """

    def __init__(
        self, reader: FileReader, is_to_load: Callable[[Job], bool], on_fail: Callable[[FoundFile, OSError], None]
    ) -> None:
        self._reader = reader
        self._fetcher = Fetcher()
        self._is_to_load = is_to_load
        self._on_fail = on_fail
        self._waiting: deque[Job] = deque()

    def __enter__(self) -> Self:
        self._reader.__enter__()
        self._fetcher.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._fetcher.__exit__(kind, error, tb)
        self._reader.__exit__(kind, error, tb)

    def ready(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, LocalFile]]:
        """Those to be loaded, in order, each with its file on this machine; a fetched one is there until the next."""
        for job in jobs:
            if isinstance(job.file, LocalFile):
                self._reader.announce(job.file.path, job.file.origin, job.state.size)
            else:
                while not self._fetcher.has_room(job.file):
                    yield from self._first()
                self._fetcher.begin(job.file)
            self._waiting.append(job)
            if len(self._waiting) > _AHEAD_FILES:
                yield from self._first()
        while self._waiting:
            yield from self._first()

    def _first(self) -> Iterator[tuple[Job, LocalFile]]:
        """The first of those that wait, unless there is nothing to be done with it."""
        self._take_fetched()
        if not self._waiting:
            return
        job = self._waiting.popleft()
        arrived = job if isinstance(job.file, LocalFile) else self._arrived(job)
        if arrived is not None:
            assert isinstance(arrived.file, LocalFile)
            yield arrived, arrived.file
            self._fetcher.release(arrived.file.origin)

    def _take_fetched(self) -> None:
        """Begin to read those that have been fetched meanwhile."""
        if not self._fetcher.holds_any:
            return
        waiting = list(self._waiting)
        self._waiting.clear()
        for job in waiting:
            is_here = isinstance(job.file, LocalFile) or not self._fetcher.is_fetched(job.file)
            arrived = job if is_here else self._arrived(job)
            if arrived is not None:
                self._waiting.append(arrived)

    def _arrived(self, job: Job) -> Job | None:
        """The same with its file on this machine, once that was fetched; None if nothing is to be done with it."""
        assert not isinstance(job.file, LocalFile)
        try:
            file = self._fetcher.take(job.file)
            arrived = replace(job, file=file, state=file.state())
        except OSError as error:
            self._on_fail(job.file, error)
            return None
        if not self._is_to_load(arrived):
            self._fetcher.release(file.origin)
            return None
        self._reader.announce(file.path, file.origin, arrived.state.size)
        return arrived
