"""Measurements of a vector index, turned into verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedding_assets.config import IndexConfig
from embedding_assets.formatting import megabytes
from embedding_assets.health.verdict import Verdict
from embedding_assets.planning import EXACT_SEARCH_ROWS
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.index.size import is_bloated

if TYPE_CHECKING:
    from embedding_assets.postgres.index.measurements import IndexMeasurement


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


def judge_recall_floor(measurement: IndexMeasurement, floor: float) -> Verdict:
    """The index finds the true nearest neighbours.

    The measured value decides, not its interval: with few queries that would let nearly any index pass.
    """
    if measurement.recall is None:
        return _not_measured("recall", measurement)
    passed = measurement.recall >= floor
    choice = _enough_for(measurement, floor)
    remedy = (
        f"Set EMBEDDING_INDEX_EF_SEARCH={choice}, at which it was enough"
        if choice
        else "Raise EMBEDDING_INDEX_M and EMBEDDING_INDEX_EF_CONSTRUCTION, then materialize pgvector_index_health, "
        "which builds the index anew"
    )
    return Verdict(
        "recall",
        passed,
        blocking=False,
        description=f"recall@10 is {_with_interval(measurement)} at ef_search={measurement.details['ef_search']}, "
        f"the floor is {floor:g}" + ("" if passed else f". {remedy}; or lower EMBEDDING_RECALL_FLOOR"),
        numbers={
            "recall_at_10": round(measurement.recall, 4),
            "recall_low": round(measurement.recall_low or 0.0, 4),
            "recall_high": round(measurement.recall_high or 0.0, 4),
            "floor": floor,
            "queries": measurement.details["queries"],
            "p50_milliseconds": round(measurement.p50_ms or 0.0, 3),
            "p95_milliseconds": round(measurement.p95_ms or 0.0, 3),
            "exact_p50_milliseconds": round(measurement.exact_p50_ms or 0.0, 3),
        },
    )


def judge_recall_drop(measurement: IndexMeasurement, baseline: IndexMeasurement | None, config: IndexConfig) -> Verdict:
    """The recall has not fallen since the last accepted measurement.

    It has if it is lower by more than ``EMBEDDING_INDEX_RECALL_DROP``, and the intervals of both do not explain that:
    the 95% interval of the difference, put together of theirs as Newcombe does (1998, method 10,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I), does not reach 0.
    """
    if measurement.recall is None:
        return _not_measured("recall_drop", measurement)
    if baseline is None or baseline.recall is None or baseline.id == measurement.id:
        return Verdict(
            "recall_drop",
            passed=True,
            blocking=False,
            description=f"recall@10 is {_with_interval(measurement)}, which later measurements are compared with",
            numbers={"drop": 0.0},
        )
    drop = baseline.recall - measurement.recall
    explained = math.hypot(
        baseline.recall - (baseline.recall_low or 0.0), (measurement.recall_high or 1.0) - measurement.recall
    )
    passed = drop <= max(config.recall_drop, explained)
    found = (
        f"recall@10 is {_with_interval(measurement)}, after {_with_interval(baseline)} of "
        f"{baseline.measured_at:%Y-%m-%d}"
    )
    return Verdict(
        "recall_drop",
        passed,
        blocking=False,
        description=found
        if passed
        else f"{found}{_what_changed(measurement, baseline)}. Vectors that were added or written anew are found less "
        "well, or searches were configured otherwise. Build the index anew (drop it, then materialize "
        "pgvector_index_health), raise EMBEDDING_INDEX_EF_SEARCH, or accept it as the new normal: "
        f"embedding-assets spaces accept-recall {measurement.space}",
        numbers={
            "drop": round(drop, 4),
            "drop_explained_by_chance": round(explained, 4),
            "drop_allowed": config.recall_drop,
            "baseline": round(baseline.recall, 4),
        },
    )


def judge_bloat(measurement: IndexMeasurement, config: IndexConfig) -> Verdict:
    """The index is about as large as it would be if it were built now."""
    if measurement.bloat is None:
        return Verdict("bloat", passed=True, blocking=False, description="there is no HNSW index")
    passed = not is_bloated(measurement.index_bytes, measurement.bloat, config.bloat_ceiling)
    size = f"index {measurement.index_name} has {megabytes(measurement.index_bytes)}"
    return Verdict(
        "bloat",
        passed,
        blocking=False,
        description=f"{size}, {measurement.bloat:.2f} times what it would have if it were built now; the ceiling is "
        f"{config.bloat_ceiling:g}"
        + (
            ""
            if passed
            else ". Vectors that were deleted or written anew leave entries behind. Materialize pgvector_index_health, "
            "which builds it anew beside itself, or raise EMBEDDING_INDEX_BLOAT_CEILING"
        ),
        numbers={
            "bloat": round(measurement.bloat, 3),
            "ceiling": config.bloat_ceiling,
            "size_bytes": measurement.index_bytes,
            "dead_rows_share": round(measurement.details["dead_share"], 4),
        },
    )


def judge_planner(measurement: IndexMeasurement) -> Verdict:
    """PostgreSQL answers searches by the index of its own accord, once the table is large enough to need one."""
    numbers: dict[str, float | int | str] = {
        "planner_uses_index": int(measurement.planner_uses_index),
        "vectors": measurement.embedded,
    }
    if measurement.recall is None:
        return _not_measured("planner_uses_index", measurement)
    if measurement.planner_uses_index:
        found, passed = f"searches use index {measurement.index_name}", True
    elif measurement.embedded <= EXACT_SEARCH_ROWS:
        found, passed = f"{measurement.embedded:,} vectors are few enough to be searched without the index", True
    else:
        found, passed = (
            f"searches among {measurement.embedded:,} vectors do not use index {measurement.index_name}: PostgreSQL "
            "takes reading them all for cheaper. Run ANALYZE knowledge_base; if that does not help, look at "
            "enable_indexscan, random_page_cost (1.1 for an SSD) and EMBEDDING_INDEX_EF_SEARCH",
            False,
        )
    return Verdict("planner_uses_index", passed, blocking=False, description=found, numbers=numbers)


def judge_pgvector(installed: str, minimum: Sequence[int]) -> Verdict:
    """pgvector is new enough: 0.8.2 to 0.8.4 mended parallel builds and vacuum of HNSW indexes."""
    least = ".".join(map(str, minimum))
    passed = tuple(int(part) for part in installed.split(".") if part.isdigit()) >= tuple(minimum)
    return Verdict(
        "pgvector_version",
        passed,
        blocking=True,
        description=f"pgvector {installed}, {least} or newer is needed"
        if passed
        else f"pgvector {installed} is older than {least}, so indexes may be damaged. Install a newer one on the "
        "server, run ALTER EXTENSION vector UPDATE, then REINDEX INDEX CONCURRENTLY for each vector index",
        numbers={"installed": installed, "minimum": least},
    )


def _not_measured(name: str, measurement: IndexMeasurement) -> Verdict:
    return Verdict(
        name,
        passed=True,
        blocking=False,
        description=f"not measured: {measurement.details['reason']}",
        numbers={"vectors": measurement.embedded},
    )


def _with_interval(measurement: IndexMeasurement) -> str:
    return (
        f"{measurement.recall:.3f} ({measurement.recall_low:.3f} to {measurement.recall_high:.3f} with 95% confidence)"
    )


def _enough_for(measurement: IndexMeasurement, floor: float) -> int | None:
    """The least hnsw.ef_search above the configured one at which the floor was reached."""
    configured = measurement.details["ef_search"]
    return next((p.ef_search for p in measurement.curve if p.ef_search > configured and p.recall >= floor), None)


def _what_changed(measurement: IndexMeasurement, baseline: IndexMeasurement) -> str:
    names = ("ef_search", "m", "ef_construction", "operator_class")
    changes = [
        f"{name} was {baseline.details.get(name)} and is {measurement.details.get(name)}"
        for name in names
        if baseline.details.get(name) != measurement.details.get(name)
    ]
    if measurement.embedded != baseline.embedded:
        changes.append(f"there were {baseline.embedded:,} vectors and are {measurement.embedded:,}")
    return f" ({'; '.join(changes)})" if changes else ""
