"""Measurements of stored vectors, runs and the backlog, turned into verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from embedding_assets.config import EmbeddingConfig
from embedding_assets.formatting import by_device, moment, rate, share
from embedding_assets.health.audit import MINIMUM_COSINE, SpaceSample
from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.backlog import Backlog
from embedding_assets.postgres.runs import PastRun
from embedding_assets.postgres.vectors import StoredVectorsReport
from embedding_assets.spaces import UNIT_LENGTH_TOLERANCE

if TYPE_CHECKING:
    from embedding_assets.postgres.index.statistics import VectorStatistics
    from embedding_assets.spaces import VectorSpace


THROUGHPUT_MINIMUM_CHUNKS = 100
"""Runs that embedded fewer say more about start-up than about speed."""


def judge_vectors(report: StoredVectorsReport, dimensions: int) -> Verdict:
    """Every stored vector has the space's dimensions, all finite, and a length fit for search."""
    passed = report.faulty == 0
    return Verdict(
        "finite_dimensions",
        passed,
        blocking=True,
        description=f"{report.checked:,} vectors checked, all with {dimensions} finite dimensions"
        if passed
        else f"{report.faulty:,} of {report.checked:,} vectors are faulty: {report.wrong_dimensions} of wrong length, "
        f"{report.zero} zero, {report.not_unit_length or 0} not of unit length. They were not written by this "
        "pipeline; set them to NULL and embed again",
        numbers={
            "checked": report.checked,
            "wrong_dimensions": report.wrong_dimensions,
            "zero": report.zero,
            "not_unit_length": report.not_unit_length or 0,
        },
    )


def judge_throughput(run: PastRun | None, config: EmbeddingConfig) -> Verdict:
    """The latest run of some size was fast enough."""
    if run is None:
        return Verdict(
            "throughput",
            passed=True,
            blocking=False,
            description=f"no run has embedded {THROUGHPUT_MINIMUM_CHUNKS} chunks yet",
        )
    speed = run.chunks_per_second
    remedy = (
        "Ask the provider for higher rate limits, raise EMBEDDING_OPENAI_CONCURRENCY"
        if run.device == "api"
        else "Use a GPU or a smaller model"
    )
    passed = speed >= config.throughput_floor
    return Verdict(
        "throughput",
        passed,
        blocking=False,
        description=f"{rate(speed)} chunks/s {by_device(run.device)}, the floor is {config.throughput_floor:g}"
        + ("" if passed else f". {remedy}, or lower EMBEDDING_THROUGHPUT_FLOOR"),
        numbers={"chunks_per_second": round(speed, 2), "floor": config.throughput_floor},
    )


def judge_coverage(backlog: Backlog, config: EmbeddingConfig) -> Verdict:
    """Enough of the table is embedded."""
    covered = backlog.embedded / backlog.chunks if backlog.chunks else 1.0
    passed = covered >= config.coverage_floor
    return Verdict(
        "coverage",
        passed,
        blocking=False,
        description=f"{backlog.embedded:,} of {backlog.chunks:,} chunks are embedded ({share(covered)})"
        + ("" if passed else ". Materialize the remaining partitions of chunk_embeddings, or run `embed`"),
        numbers={"coverage": round(covered, 4), "pending": backlog.pending},
    )


def judge_quarantine(backlog: Backlog) -> Verdict:
    """No chunk was given up."""
    passed = backlog.quarantined == 0
    return Verdict(
        "quarantine_empty",
        passed,
        blocking=False,
        description="no chunk is quarantined"
        if passed
        else f"{backlog.quarantined:,} chunks failed too often. List them with `embedding-assets failures`, mend their "
        "text (an edit is enough to try again) or run `embedding-assets failures --retry`",
        numbers={"quarantined": backlog.quarantined, "waiting_for_retry": backlog.waiting},
    )


def judge_hashes(backlog: Backlog) -> Verdict:
    """Every pending chunk lies in some partition."""
    passed = backlog.unreachable == 0
    return Verdict(
        "hashes_reachable",
        passed,
        blocking=False,
        description="every pending chunk lies in a partition"
        if passed
        else f"{backlog.unreachable:,} pending chunks have a chunk_hash that is not lowercase hex, so no partition "
        "ever reaches them. Find them by: chunk_hash !~ '^[0-9a-f]{2,}$'",
        numbers={"unreachable": backlog.unreachable},
    )


def judge_models(samples: Sequence[SpaceSample]) -> Verdict:
    """The vectors of each space are those of its own model."""
    wrong = [sample for sample in samples if sample.mismatched]
    unchecked = [sample for sample in samples if sample.unchecked is not None]
    compared = sum(sample.compared for sample in samples)
    alike = f"{compared:,} vectors computed again" + (", all as they are stored" if compared else "")
    parts = [_mismatch(sample) for sample in wrong] or [alike]
    parts += [f"space {sample.column.space.name} is not checked: {sample.unchecked}" for sample in unchecked]
    cosines = [sample.lowest_cosine for sample in samples if sample.lowest_cosine is not None]
    return Verdict(
        "vectors_match_model",
        passed=not wrong,
        blocking=True,
        description=". ".join(parts),
        numbers={
            "compared": compared,
            "mismatched": sum(len(sample.mismatched) for sample in samples),
            "spaces_not_checked": len(unchecked),
            **({"lowest_cosine": round(min(cosines), 5)} if cosines else {}),
        },
    )


def _mismatch(sample: SpaceSample) -> str:
    space, column = sample.column.space, sample.column.name
    return (
        f"space {space.name}: {len(sample.mismatched)} of {sample.compared} vectors are not what {space.model} makes "
        f"of their text (cosine below {MINIMUM_COSINE}, down to {sample.lowest_cosine or 0:.2f}), e.g. those of "
        f"{', '.join(sample.mismatched[:5])}. Another model wrote into column {column}, or EMBEDDING_MODEL_NAME named "
        f"the wrong one when the table was adopted. Set what is not this model's to NULL (the whole column if that "
        "cannot be told) and embed again"
    )


def judge_backlog_age(oldest: datetime | None, now: datetime, hours: float) -> Verdict:
    """No chunk waits too long for its vector.

    Args:
        oldest: since when the longest waiting one does; None when none waits.
        now: the time.
        hours: how long is acceptable.
    """
    waiting = now - oldest if oldest else timedelta()
    passed = waiting <= timedelta(hours=hours)
    waited = f"{waiting / timedelta(hours=1):,.1f} h"
    if oldest is None:
        found = "no chunk waits for its vector"
    elif passed:
        found = f"the oldest pending chunk has waited {waited}; up to {hours:g} h are fine"
    else:
        found = (
            f"the oldest pending chunk has waited {waited}, since {moment(oldest)}; up to {hours:g} h are "
            "fine. See that the sensor on new chunks is on and the daemon runs, look at the last runs of "
            "chunk_embeddings and at `embedding-assets failures`, or materialize what is pending by hand"
        )
    return Verdict(
        "backlog_age",
        passed,
        blocking=False,
        description=found,
        numbers={"oldest_pending_hours": round(waiting / timedelta(hours=1), 2), "limit_hours": hours},
    )


def judge_unit_norm(statistics: VectorStatistics, space: VectorSpace) -> Verdict:
    """Vectors of a model that normalizes have unit length; none has length zero."""
    low, high = statistics.norm_min, statistics.norm_max
    within = low is None or high is None or max(abs(low - 1), abs(high - 1)) <= UNIT_LENGTH_TOLERANCE
    passed = statistics.zero == 0 and (within or not space.normalized)
    lengths = "" if low is None or high is None else f", of length {_range(low, high)}"
    faults = []
    if statistics.zero:
        found = "1 has length zero and is" if statistics.zero == 1 else f"{statistics.zero:,} have length zero and are"
        faults.append(f"{found} never found")
    if space.normalized and not within:
        faults.append(f"{space.model} makes vectors of length 1, so others are another model's or were changed")
    return Verdict(
        "unit_norm",
        passed,
        blocking=True,
        description=_looked_at(statistics)
        + lengths
        + (
            ""
            if passed
            else f": {'; '.join(faults)}. Set those to NULL, which vector_norm tells from the others, and embed again"
        ),
        numbers={
            "sampled": statistics.sampled,
            "vectors": statistics.vectors,
            "zero": statistics.zero,
            **({} if low is None or high is None else {"norm_min": round(low, 6), "norm_max": round(high, 6)}),
        },
    )


def _range(low: float, high: float) -> str:
    ends = f"{low:.4g}", f"{high:.4g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _looked_at(statistics: VectorStatistics) -> str:
    if statistics.sampled >= statistics.vectors:
        return f"{statistics.sampled:,} vectors looked at"
    return (
        f"{statistics.sampled:,} of {statistics.vectors:,} vectors looked at, picked by chance (a single faulty one is "
        f"among them with a probability of {share(statistics.sampled, statistics.vectors)})"
    )
