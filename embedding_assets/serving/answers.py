"""Answers as they are sent: as data, and as text that an agent reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, TypeAdapter

if TYPE_CHECKING:
    from embedding_assets.postgres.search import NeighbouringChunk
    from embedding_assets.retrieval import Answer, SearchResult

_ANYTHING: Final = TypeAdapter[Any](Any, config=ConfigDict(ser_json_inf_nan="null"))

MOST_TEXT_CHARACTERS: Final = 8_000
"""Of a chunk, for an agent."""


def as_document(record: Answer | NeighbouringChunk) -> dict[str, Any]:
    """A record as JSON has it: every field, those of its parts included."""
    document: dict[str, Any] = _ANYTHING.dump_python(asdict(record), mode="json")
    return document


def as_text(answer: Answer) -> str:
    """An answer as an agent reads it."""
    count = len(answer)
    head = "Nothing was found." if not count else f"{count} passage{'s' if count > 1 else ''}, best first."
    passages = (_passage(number, result) for number, result in enumerate(answer, start=1))
    return "\n\n".join([head, *(f"Note: {note}" for note in answer.notes), *passages])


def neighbours_as_text(chunks: Sequence[NeighbouringChunk]) -> str:
    """Neighbours of a chunk as an agent reads them, each with its distance."""
    if not chunks:
        return "There is no such chunk, or nothing stands beside it."
    return "\n\n".join(_lines(f"[{chunk.distance:+d}]", _marks(chunk), chunk.text) for chunk in chunks)


def _passage(number: int, result: SearchResult) -> str:
    marks = {
        "source": result.source,
        "position": result.position,
        "heading": result.context_header or result.title,
        "key": ", ".join(f"{name}={value}" for name, value in result.key.items() if value != result.chunk_hash),
        "chunk": result.chunk_hash,
        "metadata": ", ".join(f"{name}={value}" for name, value in result.metadata.items() if _is_short(name, value)),
        "also in": ", ".join(place.source or place.chunk_hash for place in result.other_places[:10]),
    }
    score = "found by its words" if result.score is None else f"score {result.score:.3f}"
    passage = _lines(f"[{number}] {score}", marks, result.text)
    beside = (_lines(f"[{number}, {one.distance:+d}]", {"chunk": one.chunk_hash}, one.text) for one in result.context)
    return "\n".join([passage, *beside])


def _marks(chunk: NeighbouringChunk) -> dict[str, str]:
    return {"heading": chunk.header, "chunk": chunk.chunk_hash}


def _lines(head: str, marks: dict[str, str], text: str) -> str:
    return "\n".join([head, *_shown(marks), _cut(text)])


def _shown(marks: dict[str, str]) -> Iterable[str]:
    return (f"{name}: {value}" for name, value in marks.items() if value)


def _is_short(name: str, value: object) -> bool:
    return name not in ("source", "title") and isinstance(value, str | int | float) and len(str(value)) <= 100


def _cut(text: str) -> str:
    if len(text) <= MOST_TEXT_CHARACTERS:
        return text
    return f"{text[:MOST_TEXT_CHARACTERS]}\n… (cut; the passage has {len(text):,} characters)"
