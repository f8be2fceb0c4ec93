"""Judgements: which places answer a question, in words that survive another splitting of the documents."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from embedding_assets.retrieval import SearchResult

HEADING_SEPARATOR: Final = " > "

IDENTIFIERS: Final = ("_id", "id", "doc_id", "docno")
"""Fields of metadata by which collections call their documents, in this order."""

_HASH: Final = re.compile(r"[0-9a-f]{32,128}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands.

    Attributes:
        source: as searches show it.
        headings: above the chunk, outermost first, without differences of case and spaces.
        chunk_hash: the row's.
        metadata: what searches show of the row.
        text: of the chunk, in lower case, its spaces single; empty where it is not needed.
    """

    source: str
    headings: tuple[str, ...]
    chunk_hash: str
    metadata: Mapping[str, Any]
    text: str = field(default="", repr=False)

    @property
    def document(self) -> str:
        """What the document is called by: the first of the usual fields that it has, else its source."""
        named = (self.metadata[name] for name in IDENTIFIERS if self.metadata.get(name) not in (None, ""))
        return str(next(named, self.source))

    @property
    def names(self) -> set[str]:
        """Everything that the document may be called: its identifiers, its source, and the ends of that.

        ``docs/guide/install.md`` is ``guide/install.md``, ``install.md`` and ``install`` as well, and ``rows.jsonl#7``
        is ``7``.
        """
        names = {self.source, self.chunk_hash, self.document}
        path, _, fragment = self.source.partition("#")
        parts = path.split("/")
        ends = {"/".join(parts[start:]) for start in range(1, len(parts))}
        if fragment:
            names |= {fragment, *(f"{end}#{fragment}" for end in ends)}
        else:
            names |= {*ends, parts[-1].rpartition(".")[0]}
        return names - {""}

    def values(self, names: Sequence[str]) -> tuple[str, ...]:
        """Fields of the metadata, as judgements write them."""
        return tuple(_as_text(self.metadata.get(name)) for name in names)


def place_of(result: SearchResult) -> Place:
    """Where a search's result stands."""
    return make_place(result.source, result.context_header, result.chunk_hash, result.metadata, result.text)


def places_of(result: SearchResult) -> list[Place]:
    """Where a result's text stands: its own place, then the others with the same text."""
    others = [
        make_place(other.source, other.context_header, other.chunk_hash, {}, result.text)
        for other in result.other_places
    ]
    return [place_of(result), *others]


def make_place(source: str, header: str, chunk_hash: str, metadata: Mapping[str, Any], text: str) -> Place:
    """A place, its headings and its text as they are compared."""
    return Place(source, headings_of(header), chunk_hash, metadata, plain(text))


def headings_of(header: str) -> tuple[str, ...]:
    """The parts of a header such as ``Guide > Install``."""
    return tuple(part for part in map(plain, header.split(HEADING_SEPARATOR)) if part)


def plain(text: str) -> str:
    """A text without differences of case and spaces."""
    return " ".join(text.casefold().split())


@dataclass(frozen=True, slots=True)
class Judgement:
    """A place that answers a question, or of grade 0 one that does not.

    Attributes:
        document: any of the names of the place's document; empty if ``fields`` name it.
        headings: of the section within it, which stand together in the place's; what is below them belongs to it.
        fields: names and values of metadata or of the row's key.
        text: words that the chunk holds, prepared as the place's.
        grade: how well it answers, 0 or more.
    """

    document: str = ""
    headings: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    text: str = field(default="", repr=False)
    grade: int = 1

    def matches(self, place: Place) -> bool:
        """Whether it is about that place."""
        return (
            (not self.document or self.document in place.names)
            and place.values([name for name, _ in self.fields]) == tuple(value for _, value in self.fields)
            and _is_within(self.headings, place.headings)
            and self.text in place.text
        )

    @property
    def name(self) -> str:
        """In words, without the chunk's own."""
        parts = [self.document] if self.document else [f"{name}={value}" for name, value in self.fields]
        parts += [f"under {HEADING_SEPARATOR.join(self.headings)}"] if self.headings else []
        return ", ".join([*parts, *(["a certain text"] if self.text else [])])


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question and its judgements.

    Attributes:
        id: the file's own, else made of the text, so that it is the same next time.
        text: the question.
        judgements: each place once.
    """

    id: str
    text: str = field(repr=False)
    judgements: tuple[Judgement, ...]

    @property
    def has_answer(self) -> bool:
        """Whether any place is judged to answer it: otherwise nothing can be measured by it."""
        return any(judgement.grade > 0 for judgement in self.judgements)

    def ranking(self, results: Sequence[SearchResult]) -> list[str]:
        """The units found, best first, each where its best chunk stands.

        A unit is what a judgement is about. What no judgement is about is counted by as fine a unit as the judgements
        have: a document, a section of it, or a chunk.
        """
        units: dict[str, None] = {}
        for result in results:
            places = places_of(result)
            found = [
                f"judged {number}"
                for number, judgement in enumerate(self.judgements)
                if any(judgement.matches(place) for place in places)
            ]
            units |= dict.fromkeys(found or [self._other_unit(places[0])])
        return list(units)

    def grades(self) -> dict[str, int]:
        """The grade of each unit that is judged."""
        return {f"judged {number}": judgement.grade for number, judgement in enumerate(self.judgements)}

    def _other_unit(self, place: Place) -> str:
        parts = [place.document]
        if any(judgement.headings for judgement in self.judgements):
            parts += place.headings
        parts += place.values(sorted({name for judgement in self.judgements for name, _ in judgement.fields}))
        if any(judgement.text or _HASH.fullmatch(judgement.document) for judgement in self.judgements):
            parts.append(place.chunk_hash)
        return json.dumps(parts)


def question_id(text: str) -> str:
    """An id of a question that has none of its own."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def fingerprint(questions: Sequence[JudgedQuestion]) -> str:
    """The same for the same questions with the same judgements, in any order; tells nothing of their texts."""
    lines = []
    for question in questions:
        judged = sorted(repr((j.document, j.headings, j.fields, j.text, j.grade)) for j in question.judgements)
        lines.append(json.dumps([question.id, question.text, judged]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _is_within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _as_text(value: object) -> str:
    """A value of metadata as a judgement writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
