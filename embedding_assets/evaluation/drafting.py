"""Drafts of judged questions, made of the table's own headings and sentences, for a person to correct."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from embedding_assets.documents.formats.registry import format_named, format_of
from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.judgements import HEADING_SEPARATOR
from embedding_assets.postgres.places import sample_places
from embedding_assets.postgres.search_indexes import UNSPACED

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.places import ChunkPlace

_MOST_WORDS: Final = 25
_SENTENCE_END: Final = re.compile(r"(?<=[.!?\u0964])\s+|(?<=[\u3002\uff01\uff1f])")  # also of Hindi and Chinese

_WORD: Final = re.compile(rf"[{UNSPACED}]|[^\W_]+")
"""A word; in scripts that put no blanks between words, a character."""

_FEWEST_WORDS: Final = 2
"""A question of one word asks nothing of its own: many sections are called "Options"."""

_FEWEST_LETTERS: Final = 0.75
"""Share of letters and digits in a sentence; code and rows of a table have fewer."""

_MOST_READ: Final = 20_000
"""Places that are read for drafts, unless more drafts are wanted."""


def draft_questions(database: Database, count: int) -> list[dict[str, Any]]:
    """At most ``count`` drafts, as lines of the file that ``evaluate`` reads; the same ones for the same table.

    The query is the last heading above a chunk, or its first sentence where that heading is of one word: words that the
    chunk has, so that searches by words find it all too easily. Only after a person has put it as people ask does it
    measure anything. Source code makes no drafts: its headings are names, and it has no sentences.

    Raises:
        ConfigurationError: the table is empty, or has neither headings nor sentences.
    """
    rows = 2 * count
    while True:
        places = sample_places(database, rows)
        drafts = [draft for place in places if (draft := _draft(place)) is not None]
        if len(drafts) >= count or len(places) < rows or rows >= _MOST_READ:
            break
        rows *= 4
    if not places:
        raise ConfigurationError(database.table.emptiness)
    if not drafts:
        raise ConfigurationError(
            f"{database.table} has no text to make questions of: no heading and no first sentence of more than one "
            "word, source code aside"
        )
    return drafts[:count]


def _draft(place: ChunkPlace) -> dict[str, Any] | None:
    """None where a place makes no question."""
    query = "" if _is_code(place) else _query(place)
    if not query:
        return None
    judged: dict[str, Any] = {"source": place.source} if place.source else {"key": place.chunk_hash}
    if place.header:
        judged["heading"] = place.header
    return {"draft": True, "query": query, "relevant": [judged]}


def _is_code(place: ChunkPlace) -> bool:
    kind = format_of(PurePath(place.source.partition("#")[0])) or format_named(str(place.metadata.get("language", "")))
    return kind is not None and kind.module == "source_code"


def _query(place: ChunkPlace) -> str:
    heading = _stripped(place.header.split(HEADING_SEPARATOR)[-1] if HEADING_SEPARATOR in place.header else "")
    if len(_WORD.findall(heading)) >= _FEWEST_WORDS:
        return heading
    sentence = _stripped(_SENTENCE_END.split(" ".join(place.text.split()), maxsplit=1)[0])
    if len(_WORD.findall(sentence)) < _FEWEST_WORDS:
        return ""
    plain = sentence.replace(" ", "")
    return sentence if sum(map(_is_of_word, plain)) >= _FEWEST_LETTERS * len(plain) else ""


def _is_of_word(character: str) -> bool:
    # Also the signs of vowels, as Hindi writes them.
    return unicodedata.category(character)[0] in "LMN"


def _stripped(text: str) -> str:
    return " ".join(text.strip("#*`_ ").split()[:_MOST_WORDS])
