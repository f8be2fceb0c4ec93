"""A file → its chunks, in portions that are small whatever the size of the file."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.formats.reading import read_file
from embedding_assets.documents.rejection import Rejection
from embedding_assets.postgres.chunk_rows import ChunkRow

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.splitting import Splitter

logger = logging.getLogger(__name__)

Portion = list[ChunkRow | Rejection]

_PORTION_ITEMS: Final = 256
_PORTION_CHARACTERS: Final = 262_144
_STRIDE_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Share:
    """A share of a file's rows: every ``count``-th stride of them, from stride ``number`` on.

    All shares of a file are read to its end, since reading rows costs far less than splitting their texts.
    """

    number: int = 0
    count: int = 1

    def has(self, index: int) -> bool:
        """Whether what is read as ``index``-th, counted from 0, belongs to it."""
        return index // _STRIDE_ROWS % self.count == self.number


WHOLE: Final = Share()


def read_portions(
    path: Path, source: str, options: ReadOptions, splitter: Splitter, share: Share = WHOLE
) -> Iterator[Portion]:
    """The chunks of a file, and what of it is rejected, as it is read; ends when that is at its end.

    Args:
        path: the file.
        source: the name by which it is known.
        options: how it is to be read.
        splitter: how its texts become chunks.
        share: which of its rows.
    """
    portion: Portion = []
    characters = 0
    try:
        for one in _read_patiently(path, source, options, splitter, share):
            portion.append(one)
            characters += 0 if isinstance(one, Rejection) else len(one.chunk_text)
            if len(portion) >= _PORTION_ITEMS or characters >= _PORTION_CHARACTERS:
                yield portion
                portion, characters = [], 0
    except MemoryError:
        portion.append(Rejection(source, None, "takes more memory than the reading of a file may"))
    if portion:
        yield portion


def _read_patiently(
    path: Path, source: str, options: ReadOptions, splitter: Splitter, share: Share
) -> Iterator[ChunkRow | Rejection]:
    """As ``_read``; once more if memory was short before anything came of it, as garbage of other files may fill it."""
    found = _read(path, source, options, splitter, share)
    first: list[ChunkRow | Rejection] | None = None
    with suppress(MemoryError):
        first = list(islice(found, 1))
    if first is None:
        # No sooner: the error has what was read.
        gc.collect()
        first, found = [], _read(path, source, options, splitter, share)
    yield from chain(first, found)


def _read(
    path: Path, source: str, options: ReadOptions, splitter: Splitter, share: Share
) -> Iterator[ChunkRow | Rejection]:
    for index, one in enumerate(read_file(path, source, options)):
        if not share.has(index):
            continue
        if isinstance(one, Rejection):
            yield one
        else:
            yield from map(ChunkRow.of, splitter.chunks(one))
