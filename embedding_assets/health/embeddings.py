"""Checks of stored vectors, runs and the backlog: measurements turned into verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from embedding_assets.formatting import by_device, counted, moment, rate, share
from embedding_assets.health import checks
from embedding_assets.health.audit import SpaceSample, minimum_cosine
from embedding_assets.spaces import UNIT_LENGTH_TOLERANCE

if TYPE_CHECKING:
    from embedding_assets.config import EmbeddingConfig
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.index.statistics import VectorStatistics
    from embedding_assets.postgres.runs import PastRun
    from embedding_assets.spaces import VectorSpace

THROUGHPUT_MINIMUM_CHUNKS = 100
"""Runs that embedded fewer say more about start-up than about speed."""


def finite_dimensions(statistics: VectorStatistics, space: VectorSpace) -> Verdict:
    """Every stored vector has the space's dimensions, all finite, and a length fit for search."""
    faults = {
        "wrong_dimensions": statistics.wrong_dimensions,
        "zero": statistics.zero,
        "not_unit_length": statistics.not_unit_length or 0,
    }
    passed = statistics.faulty == 0
    return checks.FINITE_DIMENSIONS.verdict(
        passed,
        f"{statistics.sampled:,} vectors checked, all with {space.dimensions} finite dimensions"
        if passed
        else f"{statistics.faulty:,} of {statistics.sampled:,} vectors are faulty: {statistics.wrong_dimensions} of "
        f"wrong length, {statistics.zero} zero, {faults['not_unit_length']} not of unit length",
        {"checked": statistics.sampled, **faults},
    )


def unit_norm(statistics: VectorStatistics, space: VectorSpace) -> Verdict:
    """Vectors of a model that normalizes have unit length; none has length zero."""
    low, high = statistics.norm_min, statistics.norm_max
    faults, numbers = [], {"sampled": statistics.sampled, "vectors": statistics.count, "zero": statistics.zero}
    norms: dict[str, float] = {}
    found = _vectors_read(statistics)
    if statistics.zero:
        faults.append(f"{statistics.zero:,} {'has' if statistics.zero == 1 else 'have'} length zero and no direction")
    if low is not None and high is not None:
        norms = {"norm_min": round(low, 6), "norm_max": round(high, 6)}
        found += f", of length {_range(low, high)}"
        if space.normalized and max(abs(low - 1), abs(high - 1)) > UNIT_LENGTH_TOLERANCE:
            faults.append(f"{space.model} makes vectors of length 1, so others are another model's or were changed")
    if faults:
        found += f": {'; '.join(faults)}"
    return checks.UNIT_NORM.verdict(not faults, found, {**numbers, **norms})


def throughput(run: PastRun | None, config: EmbeddingConfig) -> Verdict:
    """The latest run of some size was fast enough."""
    if run is None:
        return checks.THROUGHPUT.verdict(True, f"no run has embedded {THROUGHPUT_MINIMUM_CHUNKS} chunks yet")
    floor = config.throughput_floor
    remedy = (
        "Ask the provider for higher rate limits, raise EMBEDDING_OPENAI_CONCURRENCY"
        if run.device == "api"
        else "Use a GPU or a smaller model"
    )
    return checks.THROUGHPUT.verdict(
        run.chunks_per_second >= floor,
        f"{rate(run.chunks_per_second)} chunks/s {by_device(run.device, run.threads)}, the floor is {floor:g}",
        {"chunks_per_second": round(run.chunks_per_second, 2), "floor": floor},
        remedy=f"{remedy}, or lower EMBEDDING_THROUGHPUT_FLOOR",
    )


def coverage(backlog: Backlog, config: EmbeddingConfig, prefixes: Mapping[str, int] | None = None) -> Verdict:
    """Enough of the table is embedded.

    Args:
        backlog: of the space.
        config: what is enough.
        prefixes: the partitions in which chunks are pending → how many.
    """
    about = "about " if backlog.estimated else ""
    found = f"{about}{backlog.embedded:,} of {backlog.chunks:,} chunks are embedded ({share(backlog.coverage)})"
    if backlog.quarantined:
        found += f", {backlog.quarantined:,} quarantined"
    if prefixes:
        found += f"; pending in {counted(len(prefixes), 'partition')}: {' '.join(prefixes)}"
    return checks.COVERAGE.verdict(
        backlog.coverage >= config.coverage_floor,
        found,
        {
            "coverage": round(backlog.coverage, 4),
            "pending": backlog.pending,
            **({"incomplete_partitions": len(prefixes)} if prefixes is not None else {}),
        },
        # What was given up no run takes up again.
        remedy=checks.QUARANTINE_EMPTY.remedy if backlog.quarantined and not backlog.pending else None,
    )


def backlog_age(oldest: datetime | None, now: datetime, hours: float, *, is_recorded: bool = True) -> Verdict:
    """No chunk has been pending for too long.

    Args:
        oldest: since when the longest waiting one has been; None when none waits.
        now: the time.
        hours: how long is acceptable.
        is_recorded: the table says so; without, ``oldest`` is the end of the last run.
    """
    waiting = now - oldest if oldest else timedelta()
    passed = waiting <= timedelta(hours=hours)
    if oldest is None:
        found = "no chunk waits for its vector"
    else:
        since = "" if passed else f", since {moment(oldest)}"
        waited = f"{waiting / timedelta(hours=1):,.1f} h"
        who = "the oldest pending chunk has waited" if is_recorded else "chunks are pending, and no run has ended for"
        found = f"{who} {waited}{since}; up to {hours:g} h are fine"
    return checks.BACKLOG_AGE.verdict(
        passed, found, {"oldest_pending_hours": round(waiting / timedelta(hours=1), 2), "limit_hours": hours}
    )


def quarantine_empty(backlog: Backlog) -> Verdict:
    """No chunk was given up."""
    return checks.QUARANTINE_EMPTY.verdict(
        backlog.quarantined == 0,
        f"{backlog.quarantined:,} chunks failed too often" if backlog.quarantined else "no chunk is quarantined",
        {"quarantined": backlog.quarantined, "waiting_for_retry": backlog.waiting},
    )


def hashes_reachable(backlog: Backlog) -> Verdict:
    """Every pending chunk lies in some partition."""
    return checks.HASHES_REACHABLE.verdict(
        backlog.unreachable == 0,
        f"{backlog.unreachable:,} pending chunks have a chunk_hash that is not lowercase hex, so no partition ever "
        "reaches them"
        if backlog.unreachable
        else "every pending chunk lies in a partition",
        {"unreachable": backlog.unreachable},
    )


def vectors_match_model(samples: Sequence[SpaceSample]) -> Verdict:
    """The vectors of each space are those of its own model."""
    wrong = [sample for sample in samples if sample.mismatched]
    unchecked = [sample for sample in samples if sample.unchecked is not None]
    if not samples:
        return checks.VECTORS_MATCH_MODEL.verdict(True, "nothing was embedded, so nothing was compared")
    compared = sum(sample.compared for sample in samples)
    alike = f"{compared:,} vectors computed again" + (", all as they are stored" if compared else "")
    parts = [] if wrong else [alike]
    parts += [f"space {sample.column.space.name} is not checked: {sample.unchecked}" for sample in unchecked]
    parts += map(_mismatch, wrong)  # last, since what to do about it follows
    cosines = [sample.lowest_cosine for sample in samples if sample.lowest_cosine is not None]
    return checks.VECTORS_MATCH_MODEL.verdict(
        not wrong,
        ". ".join(parts),
        {
            "compared": compared,
            "mismatched": sum(len(sample.mismatched) for sample in samples),
            "spaces_not_checked": len(unchecked),
            **({"lowest_cosine": round(min(cosines), 5)} if cosines else {}),
        },
    )


def _mismatch(sample: SpaceSample) -> str:
    space = sample.column.space
    return (
        f"space {space.name}: {len(sample.mismatched)} of {sample.compared} vectors are not what {space.model} makes "
        f"of their text (cosine below {minimum_cosine(space)}, down to {sample.lowest_cosine or 0:.2f}), e.g. those of "
        f"{', '.join(sample.mismatched[:5])}. Another model wrote into column {sample.column.name}, or "
        "EMBEDDING_MODEL_NAME named the wrong one when the table was adopted"
    )


def _range(low: float, high: float) -> str:
    ends = f"{low:.4g}", f"{high:.4g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _vectors_read(statistics: VectorStatistics) -> str:
    if statistics.sampled >= statistics.count:
        return f"{statistics.sampled:,} vectors read"
    return (
        f"{statistics.sampled:,} of {statistics.count:,} vectors read at random (a single faulty one is among them "
        f"with a probability of {share(statistics.sampled, statistics.count)})"
    )
