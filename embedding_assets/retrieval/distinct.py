"""Equal texts, of which a reader wants one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedding_assets.postgres.duplicates.place import LONG_CHARACTERS

if TYPE_CHECKING:
    from embedding_assets.postgres.search import FoundChunk


@dataclass(slots=True)
class Group:
    """Chunks of one text.

    Attributes:
        best: the first of them.
        others: the rest, in their order.
    """

    best: FoundChunk
    others: list[FoundChunk] = field(default_factory=list)


def fold(chunks: Iterable[FoundChunk]) -> list[Group]:
    """The chunks by their texts, in the order of the best of each; blanks between words make no difference."""
    groups: dict[tuple[str, str], Group] = {}
    for chunk in chunks:
        text = " ".join(chunk.text.split())
        key = ("" if len(text) >= LONG_CHARACTERS else chunk.headings, text)
        if key in groups:
            groups[key].others.append(chunk)
        else:
            groups[key] = Group(chunk)
    return list(groups.values())
