"""Measurements to verdicts, purely: what is wrong, how bad it is, what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from embedding_assets.config import EmbeddingConfig, IndexConfig
from embedding_assets.postgres.chunks import Backlog
from embedding_assets.postgres.index import IndexState, RecallSample
from embedding_assets.postgres.runs import RunRecord
from embedding_assets.postgres.vectors import StoredVectorsReport

__all__ = [
    "THROUGHPUT_MINIMUM_CHUNKS",
    "Verdict",
    "judge_coverage",
    "judge_hashes",
    "judge_index",
    "judge_quarantine",
    "judge_recall",
    "judge_throughput",
    "judge_vectors",
]

THROUGHPUT_MINIMUM_CHUNKS = 100
"""Runs that embedded fewer say more about start-up than about speed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        name: of the check.
        passed: whether all is well.
        blocking: whether a failure endangers what builds on the data, rather than calling for attention.
        description: what was found; when it failed, what to do.
        numbers: the measurements behind it.
    """

    name: str
    passed: bool
    blocking: bool
    description: str
    numbers: dict[str, float | int | str] = field(default_factory=dict)


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


def judge_throughput(run: RunRecord | None, config: EmbeddingConfig) -> Verdict:
    """The latest run of some size was fast enough."""
    if run is None:
        return Verdict(
            "throughput",
            passed=True,
            blocking=False,
            description=f"no run has embedded {THROUGHPUT_MINIMUM_CHUNKS} chunks yet",
        )
    rate = run.chunks_per_second
    passed = rate >= config.throughput_floor
    return Verdict(
        "throughput",
        passed,
        blocking=False,
        description=f"{rate:.1f} chunks/s on {run.device}, the floor is {config.throughput_floor:g}"
        + ("" if passed else ". Use a GPU or a smaller model, or lower EMBEDDING_THROUGHPUT_FLOOR"),
        numbers={"chunks_per_second": round(rate, 2), "floor": config.throughput_floor},
    )


def judge_coverage(backlog: Backlog, config: EmbeddingConfig) -> Verdict:
    """Enough of the table is embedded."""
    share = backlog.embedded / backlog.chunks if backlog.chunks else 1.0
    passed = share >= config.coverage_floor
    return Verdict(
        "coverage",
        passed,
        blocking=False,
        description=f"{backlog.embedded:,} of {backlog.chunks:,} chunks are embedded ({share:.1%})"
        + ("" if passed else ". Materialize the remaining partitions of chunk_embeddings, or run `embed`"),
        numbers={"coverage": round(share, 4), "pending": backlog.pending},
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


def judge_index(state: IndexState, config: IndexConfig, embedded: int) -> Verdict:
    """The index exists, is valid and was built as configured."""
    if embedded == 0:
        return Verdict("index_valid", passed=True, blocking=False, description="nothing is embedded yet")
    if not state.exists:
        found = "does not exist"
    elif not state.valid:
        found = "is invalid: a build of it failed"
    elif not state.matches(config):
        found = f"was built with {state.operator_class}, m={state.m}, ef_construction={state.ef_construction}"
    else:
        found = ""
    return Verdict(
        "index_valid",
        passed=not found,
        blocking=True,
        description=f"index {state.name} {found}. Materialize pgvector_index_health to build it"
        if found
        else f"index {state.name} is valid: {config.operator_class}, m={config.m}, "
        f"ef_construction={config.ef_construction}",
        numbers={"size_bytes": state.size_bytes},
    )


def judge_recall(sample: RecallSample, config: EmbeddingConfig) -> Verdict:
    """The index finds the true nearest neighbours."""
    if sample.recall is None:
        return Verdict(
            "recall",
            passed=True,
            blocking=False,
            description=f"not measured: {sample.queries} vectors, or no usable index",
            numbers={"queries": sample.queries},
        )
    passed = sample.recall >= config.recall_floor
    return Verdict(
        "recall",
        passed,
        blocking=False,
        description=f"recall@10 is {sample.recall:.3f} in {sample.queries} queries, the floor is {config.recall_floor}"
        + ("" if passed else ". Raise EMBEDDING_INDEX_EF_SEARCH, or EMBEDDING_INDEX_M and rebuild"),
        numbers={
            "recall_at_10": round(sample.recall, 4),
            "queries": sample.queries,
            "p50_milliseconds": round(sample.p50_milliseconds or 0.0, 3),
            "planner_uses_index": int(sample.planner_uses_index),
        },
    )
