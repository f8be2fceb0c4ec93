"""Which judgements are about something that the table has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding_assets.evaluation.judgements import make_place
from embedding_assets.postgres.places import ChunkPlace, read_places

if TYPE_CHECKING:
    from embedding_assets.evaluation.judgements import JudgedQuestion, Judgement
    from embedding_assets.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A judgement that no chunk of the table fits."""

    question: str
    judgement: str


def find_unmatched(database: Database, questions: Sequence[JudgedQuestion]) -> list[Unmatched]:
    """Judgements of a grade above 0 that no chunk fits, in the order of the questions; reads the table once.

    They count as answers that are not found.
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

    read_places(database, look, with_text=any(judgement.text for judgement in left))
    return [
        Unmatched(question.id, judgement.name)
        for question in questions
        for judgement in question.judgements
        if judgement in left
    ]
