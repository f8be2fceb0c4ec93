"""Which judgements are about something that the table has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.evaluation.judgements import IDENTIFIERS, make_place
from embedding_assets.postgres.places import ChunkPlace, find_places, read_places

if TYPE_CHECKING:
    from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement
    from embedding_assets.postgres.connection import Database


_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A judgement that no chunk of the table fits."""

    question: str
    judgement: str


def find_unmatched(database: Database, questions: Sequence[JudgedQuestion]) -> list[Unmatched]:
    """Judgements of a grade above 0 that no chunk fits, in the order of the questions.

    They count as answers that are not found. Chunks are looked for by index first; the table is read only for what is
    not found so.
    """
    # What documents a judgement names is looked up; only then it is compared.
    by_document: dict[str, set[Judgement]] = {}
    by_fields: dict[tuple[str, ...], dict[tuple[str, ...], set[Judgement]]] = {}
    left = {judgement for question in questions for judgement in question.judgements if judgement.grade > 0}
    for judgement in left:
        if judgement.document:
            by_document.setdefault(judgement.document, set()).add(judgement)
        else:
            names, values = zip(*judgement.fields, strict=True)
            by_fields.setdefault(names, {}).setdefault(values, set()).add(judgement)

    def look(chunk: ChunkPlace) -> None:
        place = make_place(chunk.source, chunk.header, chunk.chunk_hash, chunk.metadata, chunk.text)
        candidates: set[Judgement] = set()
        for name in place.names & by_document.keys():
            candidates |= by_document[name]
        for names, values in by_fields.items():
            candidates |= values.get(place.values(names), set())
        for judgement in candidates & left:
            if judgement.matches(place):
                left.discard(judgement)

    with_text = any(judgement.text for judgement in left)
    find_places(database, look, sources=set(filter(_is_storable, by_document)), metadata=[], with_text=with_text)
    if left:
        find_places(database, look, sources=(), metadata=_metadata_of(left), with_text=with_text)
    if left:
        read_places(database, look, with_text=with_text)
    return [
        Unmatched(question.id, judgement.name)
        for question in questions
        for judgement in question.judgements
        if judgement in left
    ]


def _metadata_of(judgements: Iterable[Judgement]) -> list[dict[str, str | int]]:
    """Fields, of which a chunk that fits has one: an identifier, or the first of those that are judged."""
    named = {(name, one.document) for one in judgements if one.document for name in IDENTIFIERS}
    named |= {one.fields[0] for one in judgements if one.fields}
    usable = [(name, text) for name, text in named if _is_storable(name) and _is_storable(text)]
    as_texts: list[dict[str, str | int]] = [{name: text} for name, text in usable]
    return as_texts + [{name: int(text)} for name, text in usable if _NUMBER.fullmatch(text)]


def _is_storable(text: str) -> bool:
    """Whether the database can hold it at all; it refuses to look for anything else."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
