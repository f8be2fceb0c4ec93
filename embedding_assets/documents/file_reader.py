"""Files → chunks: a few in this process, more of them in several others."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from embedding_assets.cgroups import allowed_cpus
from embedding_assets.documents.file_reading import Portion, read_portions
from embedding_assets.documents.reading_pool import ProcessesUnavailableError, ReadingPool

if TYPE_CHECKING:
    from types import TracebackType

    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.splitting import Splitter

logger = logging.getLogger(__name__)

MOST_PROCESSES: Final = 8
"""More of them read faster than one process stores, and each takes some 100 MB."""

FEW_FILES: Final = 32
FEW_BYTES: Final = 2_000_000
"""What is read in less time than it takes to start processes."""

SOON_READ_BYTES: Final = 500_000
"""A file that is read here while processes start: they would wait for the end of a larger one."""

SHARED_BYTES: Final = 8_000_000
"""A file of rows from this size on is shared by all processes."""

_BY_PYTHON_ALONE: Final = frozenset({"markdown_text", "plain_text", "notebook", "json_lines", "json_rows", "delimited"})
"""Modules of formats that no library in another language reads, which a damaged file might crash or hang.

Not mail, which may be HTML. Of front matter in YAML only what is neither nested deeply nor long is read.
"""


class FileReader:
    """Reads and splits files, those to come ahead; closes with the context.

    Args:
        splitter: how texts become chunks.
        options: how files are read.
    """

    def __init__(self, splitter: Splitter, options: ReadOptions) -> None:
        self._splitter = splitter
        self._options = options
        self._processes = min(allowed_cpus(), MOST_PROCESSES)
        self._pool: ReadingPool | None = None
        self._is_alone = not sys.executable
        self._announced: dict[str, tuple[Path, int]] = {}
        self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.close()

    def announce(self, path: Path, source: str, size: int | None = None) -> None:
        """Say which file, of that many bytes, will be read soon."""
        size = _size(path) if size is None else size
        self._announced[source] = path, size
        if self._pool is not None:
            self._pool.announce(path, source, size, self._shares(path, size))

    def read(self, path: Path, source: str) -> Iterator[Portion]:
        """The chunks of a file, and what of it is rejected, until it is read to its end."""
        known = self._announced.get(source)
        size = _size(path) if known is None else known[1]
        try:
            if not self._reads_here(path, source, size):
                self._announced.pop(source, None)
                yield from self._started().read(path, source, size, self._shares(path, size))
                return
        except ProcessesUnavailableError:
            logger.warning("no process could be started to read files; this one does it alone")
            self._is_alone = True
            self._pool = None
        self._announced.pop(source, None)
        if self._pool is not None:
            self._pool.forget(source)
        yield from read_portions(path, source, self._options, self._splitter)

    def _reads_here(self, path: Path, source: str, size: int) -> bool:
        if self._is_alone:
            return True
        kind = self._options.format_of(path)
        if kind is not None and kind.module not in _BY_PYTHON_ALONE:
            return False
        if self._pool is None:
            # Of files that have to be fetched only a few are known ahead.
            self._files += 1
            waiting = self._announced | {source: (path, size)}
            are_few = self._files + len(waiting) <= FEW_FILES + 1 and sum(s for _, s in waiting.values()) <= FEW_BYTES
            # Alone, it would be read by one process after that has started.
            if are_few or (len(waiting) == 1 and size < SHARED_BYTES):
                return True
        return size <= SOON_READ_BYTES and not self._started().is_ready()

    def _started(self) -> ReadingPool:
        if self._pool is None:
            self._pool = ReadingPool(self._splitter, self._options, self._processes)
            for source, (path, size) in self._announced.items():
                self._pool.announce(path, source, size, self._shares(path, size))
        return self._pool

    def _shares(self, path: Path, size: int) -> int:
        if size < SHARED_BYTES:
            return 1
        kind = self._options.format_of(path)
        return self._processes if kind is not None and kind.has_rows else 1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
