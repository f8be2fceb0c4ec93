"""The check of answers: a measurement turned into a verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from embedding_assets.health import checks

if TYPE_CHECKING:
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.quality import QualityMeasurement


def quality_drop(measurement: QualityMeasurement, baseline: QualityMeasurement | None, allowed: float) -> Verdict:
    """nDCG@10 has not fallen since the last accepted measurement of the same questions.

    It has if it is lower by more than ``allowed``, and by more than chance explains: the 95% interval of the mean
    change, question by question, does not reach 0 (as a normal distribution has it).
    """
    found = f"nDCG@10 is {_with_interval(measurement)} over {measurement.questions:,} questions"
    if measurement.questions_left_out:
        found += f" ({measurement.questions_left_out:,} more were not asked)"
    if measurement.judgements_unmatched:
        found += f"; {measurement.judgements_unmatched:,} of {measurement.judgements:,} judgements fit no chunk"
    numbers: dict[str, float | int | str] = {
        "ndcg": round(measurement.ndcg, 4),
        "ndcg_low": round(measurement.ndcg_low, 4),
        "ndcg_high": round(measurement.ndcg_high, 4),
        "mrr": round(measurement.mrr, 4),
        "recall": round(measurement.recall, 4),
        "questions": measurement.questions,
        "questions_left_out": measurement.questions_left_out,
        "judgements_unmatched": measurement.judgements_unmatched,
        "mode": measurement.mode,
    }
    if baseline is None or baseline.id == measurement.id:
        return checks.QUALITY_DROP.verdict(True, f"{found}, which later ones are compared with", numbers)
    drop = baseline.ndcg - measurement.ndcg
    explained = _explained(baseline, measurement)
    numbers |= {
        "drop": round(drop, 4),
        "drop_explained": round(explained, 4),
        "drop_allowed": allowed,
        "baseline": round(baseline.ndcg, 4),
    }
    found += f", after {baseline.ndcg:.3f} of {baseline.measured_at:%Y-%m-%d}"
    return checks.QUALITY_DROP.verdict(drop <= max(allowed, explained), found, numbers)


def _explained(baseline: QualityMeasurement, measurement: QualityMeasurement) -> float:
    """Half the width of the 95% interval of the mean change, question by question."""
    common = baseline.ndcg_by_question.keys() & measurement.ndcg_by_question.keys()
    changes = [measurement.ndcg_by_question[one] - baseline.ndcg_by_question[one] for one in common]
    if len(changes) < 2:  # nothing is known of how much a question varies
        return 1.0
    mean = sum(changes) / len(changes)
    variance = sum((change - mean) ** 2 for change in changes) / (len(changes) - 1)
    return 1.96 * math.sqrt(variance / len(changes))


def _with_interval(measurement: QualityMeasurement) -> str:
    return f"{measurement.ndcg:.3f} ({measurement.ndcg_low:.3f} to {measurement.ndcg_high:.3f})"
