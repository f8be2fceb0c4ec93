"""Answers as they are sent: as data, and as text that an agent reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, TypeAdapter

from embedding_assets.retrieval.random_scores import high_score, stands_out

if TYPE_CHECKING:
    from embedding_assets.postgres.search import NeighbouringChunk
    from embedding_assets.retrieval import Answer, SearchResult

_ANYTHING: Final = TypeAdapter[Any](Any, config=ConfigDict(ser_json_inf_nan="null"))

MOST_TEXT_CHARACTERS: Final = 8_000
"""Of a chunk, for an agent."""

_MOST_VALUE_CHARACTERS: Final = 100
_MOST_ITEMS: Final = 20
"""Of a field of the metadata that an agent sees."""

_SHOWN_APART: Final = ("source", "title", "position")


def as_document(record: Answer | NeighbouringChunk) -> dict[str, Any]:
    """A record as JSON has it: every field, those of its parts included."""
    document: dict[str, Any] = _ANYTHING.dump_python(asdict(record), mode="json")
    return document


def answer_document(answer: Answer) -> dict[str, Any]:
    """An answer as JSON has it, with the score from which on a chunk is clearly nearer than those picked at random."""
    document = as_document(answer)
    if answer.random_scores is not None:
        document["random_scores"]["high"] = high_score(answer.random_scores)
    return document


def as_text(answer: Answer) -> str:
    """An answer as an agent reads it."""
    count = len(answer)
    head = "Nothing was found." if not count else f"{count} passage{'s' if count > 1 else ''}, best first."
    passages = (_passage(number, result) for number, result in enumerate(answer, start=1))
    notes = [*answer.notes, *_on_scores(answer)]
    return "\n\n".join([head, *(f"Note: {note}" for note in notes), *passages])


def _on_scores(answer: Answer) -> Iterable[str]:
    """What is low among the scores of this answer, where that is known."""
    if answer.random_scores is None or not answer:
        return
    high = high_score(answer.random_scores)
    at_random = f"passages picked at random score about {answer.random_scores.mean:.2f} with this question"
    if stands_out(answer):
        yield f"{at_random}; below {high:.2f} a score is low"
    else:
        yield f"{at_random}, and none of these scores clearly higher ({high:.2f})"


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
        "metadata": ", ".join(_fields(result.metadata)),
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


def _fields(metadata: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """The short fields, each as a condition names it: ``tags=[a, b]``, ``page.number=3``."""
    for name, value in metadata.items():
        if not within and name in _SHOWN_APART:
            continue
        if isinstance(value, Mapping):
            if not within:
                yield from _fields(value, f"{name}.")
        elif shown := _value(value):
            yield f"{within}{name}={shown}"


def _value(value: object) -> str:
    """Empty where it is too long to be shown, or nothing to compare with."""
    if isinstance(value, list):
        values = [_value(one) for one in value] if len(value) <= _MOST_ITEMS else []
        shown = f"[{', '.join(values)}]" if values and all(values) else ""
    elif isinstance(value, bool):
        shown = str(value).lower()
    else:
        shown = str(value) if isinstance(value, str | int | float) else ""
    return shown if len(shown) <= _MOST_VALUE_CHARACTERS else ""


def _cut(text: str) -> str:
    if len(text) <= MOST_TEXT_CHARACTERS:
        return text
    return f"{text[:MOST_TEXT_CHARACTERS]}\n… (cut; the passage has {len(text):,} characters)"
