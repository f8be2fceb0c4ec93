"""Checks of a vector index: measurements turned into verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedding_assets.formatting import megabytes
from embedding_assets.health import checks
from embedding_assets.planning import EXACT_SEARCH_ROWS
from embedding_assets.postgres.index.size import is_bloated
from embedding_assets.postgres.index_form import form_to_build

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.health.checks import Check
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.catalog import IndexState
    from embedding_assets.postgres.index.measurements import IndexMeasurement
    from embedding_assets.postgres.index.recall import SearchMeasurement
    from embedding_assets.spaces import SpaceColumn


def index_valid(state: IndexState, column: SpaceColumn, config: IndexConfig, embedded: int) -> Verdict:
    """The index exists, is valid and was built as the space needs it and as configured."""
    if embedded == 0:
        return checks.INDEX_VALID.verdict(True, "nothing is embedded yet")
    passed = state.matches(column, config)
    if passed:
        found = f"is valid: {state.operator_class}, m={state.m}, ef_construction={state.ef_construction}"
    elif not state.exists:
        found = "does not exist"
    elif not state.valid:
        found = "is invalid: a build of it failed"
    else:
        wanted = form_to_build(column, config.type).operator_class
        found = (
            f"was built with {state.operator_class}, m={state.m}, ef_construction={state.ef_construction}, and the "
            f"settings ask for {wanted}, m={config.m}, ef_construction={config.ef_construction}"
        )
    return checks.INDEX_VALID.verdict(passed, f"index {state.name} {found}", {"size_bytes": state.size_bytes})


def recall(measurement: IndexMeasurement, floor: float) -> Verdict:
    """The index finds the true nearest neighbours.

    The measured value decides, not its interval: with few queries that would let nearly any index pass.
    """
    search = measurement.search
    if search.recall is None:
        return _not_measured(checks.RECALL, measurement)
    enough = _enough_for(measurement, floor)
    return checks.RECALL.verdict(
        search.recall >= floor,
        f"recall@10 is {_with_interval(search)} at ef_search={measurement.ef_search}, the floor is {floor:g}",
        {
            "recall": round(search.recall, 4),
            "recall_low": round(search.recall_low or 0.0, 4),
            "recall_high": round(search.recall_high or 0.0, 4),
            "floor": floor,
            "queries": search.queries,
            "measured_at": measurement.measured_at.isoformat(timespec="seconds"),
            "p50_ms": round(search.p50_ms or 0.0, 3),
            "p95_ms": round(search.p95_ms or 0.0, 3),
            "exact_p50_ms": round(search.exact_p50_ms or 0.0, 3),
        },
        remedy=_remedy(measurement, enough),
    )


def _remedy(measurement: IndexMeasurement, enough: int | None) -> str | None:
    """What else would help than a larger graph, of which the check knows."""
    if enough:
        return f"Set EMBEDDING_INDEX_EF_SEARCH={enough}, at which it was enough; or lower EMBEDDING_RECALL_FLOOR"
    if measurement.index.cast.startswith("bit"):
        return "Set EMBEDDING_INDEX_TYPE=halfvec, which keeps more of a vector than its signs"
    return None


def recall_drop(measurement: IndexMeasurement, baseline: IndexMeasurement | None, config: IndexConfig) -> Verdict:
    """The recall has not fallen since the last accepted measurement.

    It has if it is lower by more than ``EMBEDDING_INDEX_RECALL_DROP``, and the intervals of both do not explain that:
    the 95% interval of the difference, put together of theirs as Newcombe does (1998, method 10,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I), does not reach 0.
    """
    now = measurement.search
    if now.recall is None:
        return _not_measured(checks.RECALL_DROP, measurement)
    if baseline is None or baseline.search.recall is None or baseline.id == measurement.id:
        found = f"recall@10 is {_with_interval(now)}, which later measurements are compared with"
        return checks.RECALL_DROP.verdict(True, found, {"drop": 0.0})
    then = baseline.search
    drop = baseline.search.recall - now.recall
    explained = math.hypot(baseline.search.recall - (then.recall_low or 0.0), (now.recall_high or 1.0) - now.recall)
    passed = drop <= max(config.recall_drop, explained)
    found = f"recall@10 is {_with_interval(now)}, after {_with_interval(then)} of {baseline.measured_at:%Y-%m-%d}"
    if not passed:
        found += f"{_what_changed(measurement, baseline)}. New or rewritten vectors are found less well, or searches "
        found += "were configured otherwise"
    return checks.RECALL_DROP.verdict(
        passed,
        found,
        {
            "drop": round(drop, 4),
            "drop_explained": round(explained, 4),
            "drop_allowed": config.recall_drop,
            "baseline": round(baseline.search.recall, 4),
        },
        remedy=checks.RECALL_DROP.remedy.replace("NAME", measurement.space),
    )


def bloat(measurement: IndexMeasurement, config: IndexConfig) -> Verdict:
    """The index is about as large as it would be if it were built now."""
    if measurement.bloat is None:
        return checks.BLOAT.verdict(True, "there is no HNSW index")
    size = measurement.index.size_bytes
    passed = not is_bloated(size, measurement.bloat, config.bloat_ceiling)
    found = (
        f"index {measurement.index.name} has {megabytes(size)}, {measurement.bloat:.2f} times what it would have if it "
        f"were built now; the ceiling is {config.bloat_ceiling:g}"
    )
    return checks.BLOAT.verdict(
        passed,
        found if passed else f"{found}. Deleted and rewritten vectors leave entries behind",
        {
            "bloat": round(measurement.bloat, 3),
            "ceiling": config.bloat_ceiling,
            "size_bytes": size,
            "dead_share": round(measurement.vectors.dead_share, 4),
        },
    )


def planner_uses_index(measurement: IndexMeasurement) -> Verdict:
    """PostgreSQL answers searches by the index of its own accord, once the table is large enough to need one."""
    search, vectors, name = measurement.search, measurement.vectors.count, measurement.index.name
    if search.recall is None:
        return _not_measured(checks.PLANNER_USES_INDEX, measurement)
    if search.planner_uses_index:
        found = f"searches use index {name}"
    elif vectors <= EXACT_SEARCH_ROWS:
        found = f"{vectors:,} vectors are few enough to be searched without the index"
    else:
        found = f"searches among {vectors:,} vectors do not use index {name}: PostgreSQL takes reading them all for "
        found += "cheaper"
    return checks.PLANNER_USES_INDEX.verdict(
        search.planner_uses_index or vectors <= EXACT_SEARCH_ROWS,
        found,
        {"index_is_used": search.planner_uses_index, "vectors": vectors},
    )


def pgvector_version(installed: str, minimum: Sequence[int]) -> Verdict:
    """pgvector is new enough: 0.8.2 to 0.8.4 corrected parallel builds and vacuum of HNSW indexes."""
    least = ".".join(map(str, minimum))
    passed = tuple(int(part) for part in installed.split(".") if part.isdigit()) >= tuple(minimum)
    return checks.PGVECTOR_VERSION.verdict(
        passed,
        f"pgvector {installed}, {least} or newer is needed"
        if passed
        else f"pgvector {installed} is older than {least}, so indexes may be damaged",
        {"installed": installed, "minimum": least},
    )


def _not_measured(check: Check, measurement: IndexMeasurement) -> Verdict:
    return check.verdict(True, f"not measured: {measurement.search.reason}", {"vectors": measurement.vectors.count})


def _with_interval(search: SearchMeasurement) -> str:
    return f"{search.recall:.3f} ({search.recall_low:.3f} to {search.recall_high:.3f} with 95% confidence)"


def _enough_for(measurement: IndexMeasurement, floor: float) -> int | None:
    """The least hnsw.ef_search above the configured one at which the floor was reached."""
    higher = (point for point in measurement.search.curve if point.ef_search > measurement.ef_search)
    return next((point.ef_search for point in higher if point.recall >= floor), None)


def _what_changed(measurement: IndexMeasurement, baseline: IndexMeasurement) -> str:
    now, then = _configuration(measurement), _configuration(baseline)
    changes = [f"{name} was {then[name]} and is {now[name]}" for name in now if now[name] != then[name]]
    if measurement.vectors.count != baseline.vectors.count:
        changes.append(f"there were {baseline.vectors.count:,} vectors and are {measurement.vectors.count:,}")
    return f" ({'; '.join(changes)})" if changes else ""


def _configuration(measurement: IndexMeasurement) -> dict[str, str | int]:
    index = measurement.index
    return {
        "ef_search": measurement.ef_search,
        "m": index.m,
        "ef_construction": index.ef_construction,
        "operator_class": index.operator_class,
    }
