"""Drafts of judged questions, made of the table's own headings and sentences, for a person to correct."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.judgements import HEADING_SEPARATOR
from embedding_assets.postgres.places import sample_places

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.places import ChunkPlace

_MOST_WORDS: Final = 25
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


def draft_questions(database: Database, count: int) -> list[dict[str, Any]]:
    """At most ``count`` drafts, as lines of the file that ``evaluate`` reads; the same ones for the same table.

    The query is the last heading above a chunk, else its first sentence: words that the chunk has, so that searches by
    words find it all too easily. Only after a person has put it as people ask does it measure anything.

    Raises:
        ConfigurationError: the table is empty.
    """
    drafts = []
    # Some make no question.
    for place in sample_places(database, 2 * count):
        query = _query(place)
        if query:
            judged: dict[str, Any] = {"source": place.source} if place.source else {"key": place.chunk_hash}
            if place.header:
                judged["heading"] = place.header
            drafts.append({"draft": True, "query": query, "relevant": [judged]})
    if not drafts:
        raise ConfigurationError(f"{database.table} has no text to make questions of")
    return drafts[:count]


def _query(place: ChunkPlace) -> str:
    heading = place.header.split(HEADING_SEPARATOR)[-1].strip() if HEADING_SEPARATOR in place.header else ""
    text = heading or _SENTENCE_END.split(" ".join(place.text.split()), maxsplit=1)[0]
    return " ".join(text.strip("#*`_ ").split()[:_MOST_WORDS])
