"""Answers as they are sent: as data, and as text that an agent reads."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from embedding_assets.retrieval import Answer, SearchResult

MOST_TEXT_CHARACTERS: Final = 8_000
"""Of a chunk, for an agent."""


def as_document(answer: Answer) -> dict[str, Any]:
    """An answer as JSON has it: every field of every result."""
    return {"results": [asdict(result) for result in answer], "notes": list(answer.notes)}


def as_text(answer: Answer) -> str:
    """An answer as an agent reads it."""
    count = len(answer)
    head = "Nothing was found." if not count else f"{count} passage{'s' if count > 1 else ''}, best first."
    parts = [head, *(f"Note: {note}" for note in answer.notes)]
    parts += [_passage(number, result) for number, result in enumerate(answer, start=1)]
    return "\n\n".join(parts)


def _passage(number: int, result: SearchResult) -> str:
    marks = {
        "source": result.source,
        "heading": result.context_header or result.title,
        "chunk": result.chunk_hash,
        "metadata": ", ".join(f"{name}={value}" for name, value in result.metadata.items() if _is_short(name, value)),
    }
    lines = [f"[{number}] score {result.score:.3f}", *(f"{name}: {value}" for name, value in marks.items() if value)]
    return "\n".join([*lines, _cut(result.text)])


def _is_short(name: str, value: object) -> bool:
    return name not in ("source", "title") and isinstance(value, str | int | float) and len(str(value)) <= 100


def _cut(text: str) -> str:
    if len(text) <= MOST_TEXT_CHARACTERS:
        return text
    return f"{text[:MOST_TEXT_CHARACTERS]}\n… (cut; the passage has {len(text):,} characters)"
