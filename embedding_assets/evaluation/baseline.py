"""What an evaluation is compared with: an earlier one's document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.metrics import NDCG

if TYPE_CHECKING:
    from embedding_assets.evaluation.measuring import Measured, Way
    from embedding_assets.evaluation.recording import Asked


def as_document(asked: Asked, measured: Sequence[Measured], unanswered: int, drafts: int = 0) -> dict[str, Any]:
    """An evaluation as JSON: numbers, and names of questions and places; no question and no text of a chunk."""
    return {
        "question_set": asked.question_set,
        "questions": len(asked.questions),
        "questions_left_out": asked.left_out,
        "questions_without_answer": unanswered,
        "drafts": drafts,
        "judgements": sum(len(question.judgements) for question in asked.questions),
        "unmatched": [asdict(one) for one in asked.unmatched],
        "ways": [
            {
                **asdict(one.way),
                "metrics": {metric: asdict(found) for metric, found in one.estimates.items()},
                "by_question": {metric: dict(values) for metric, values in one.questions.items()},
                "notes": list(one.notes),
            }
            for one in measured
        ],
    }


def read_baseline(path: Path, question_set: str) -> list[dict[str, Any]]:
    """The ways that an earlier evaluation of the same questions has measured.

    Raises:
        ConfigurationError: it cannot be read, is no such document, or is about other questions.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        ways: list[dict[str, Any]] = document["ways"]
        measured = {way["mode"]: way["by_question"][NDCG] for way in ways}
        found = document["question_set"]
    except OSError as error:
        raise ConfigurationError(f"--baseline: {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"--baseline: {path} is not what `embedding-assets evaluate --json` writes") from None
    if not measured:
        raise ConfigurationError(f"--baseline: {path} has measured nothing")
    if found != question_set:
        raise ConfigurationError(
            f"--baseline: {path} is about other questions or judgements; write it again with "
            "`embedding-assets evaluate … --json`"
        )
    return ways


def baseline_of(way: Way, ways: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, float]] | None:
    """Metric → question → value of what is to be compared with one way: the same mode, of the same space if possible.

    Another space, or another ``ef_search``, may be what has changed.
    """
    alike = [one for one in ways if (one["mode"], one["rerank"]) == (way.mode, way.rerank)]
    alike.sort(key=lambda one: (one["space"] != way.space, one["ef_search"] != way.ef_search))
    found: Mapping[str, Mapping[str, float]] | None = alike[0]["by_question"] if alike else None
    return found
