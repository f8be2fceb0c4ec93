"""Automation of pgvector_index_health: it runs after a load that brought vectors and did not maintain the index."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dagster import (
    AssetKey,
    AssetRecordsFilter,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    AutomationContext,
    AutomationResult,
    DagsterEventType,
    DagsterInstance,
    EventLogRecord,
    RunRecord,
    RunsFilter,
)

from embedding_assets.defs.jobs import last_sign
from embedding_assets.defs.table_spec import EMBEDDINGS, HEALTH, TableSpec

_PAGE = 500

DEAD_SECONDS = 900
"""A run that embedded something, is not finished and has not logged anything for so long was killed."""


class ChunksEmbedded(AutomationCondition[AssetKey]):
    """True from the end of a successful run that embedded something without the index until that is maintained.

    Not built of Dagster's own conditions: of the partitions that one run updated, ``executed_with_root_target`` looks
    at the latest only, so each range that the sensor loads would have its index maintained twice.

    The cursor is the storage id up to which loads are dealt with. It stays while a run that has embedded something
    still goes on, so that many runs side by side are followed by one look at the index.
    """

    @property
    def name(self) -> str:
        return "chunks_embedded"

    @property
    def description(self) -> str:
        return "Chunks were embedded by a run that succeeded and did not itself maintain the index"

    def evaluate(self, context: AutomationContext[AssetKey]) -> AutomationResult[AssetKey]:
        """All or nothing: the asset has no partitions."""
        now = context.max_storage_id or 0
        if context.cursor is None:
            # What was loaded before this sensor ever ran is left to the nightly run.
            return AutomationResult(context, context.get_empty_subset(), cursor=str(now))
        handled = int(context.cursor)
        requested = context.get_previous_requested_subset(context.root_context.key)
        if requested is not None and not requested.is_empty:
            handled = context.previous_max_storage_id or handled
        instance = context.asset_graph_view.instance
        health = context.root_context.key
        load = AssetKey([*health.path[:-1], EMBEDDINGS])
        loads = _runs_that_embedded(instance, load, after=handled, until=now)
        if not all(run.dagster_run.is_finished or _is_dead(instance, run) for run in loads):
            return AutomationResult(context, context.get_empty_subset(), cursor=str(handled))
        if any(_leaves_index(instance, run, health) for run in loads):
            return AutomationResult(context, context.candidate_subset, cursor=str(handled))
        return AutomationResult(context, context.get_empty_subset(), cursor=str(now))


after_load = (
    ChunksEmbedded() & ~AutomationCondition.any_deps_in_progress() & ~AutomationCondition.in_progress()
).with_label("after_load")


def index_health_sensor(spec: TableSpec) -> AutomationConditionSensorDefinition:
    """The sensor that evaluates the condition for a table."""
    return spec.condition_sensor(
        "index_health_sensor",
        [HEALTH],
        "Maintains the index once chunk_embeddings was materialized without it: builds what is missing and measures. "
        "Waits until no run embeds any more; leaves out loads that embedded nothing or failed.",
        # Where conditions that Dagster does not bring along are evaluated.
        use_user_code_server=True,
    )


def _runs_that_embedded(instance: DagsterInstance, load: AssetKey, *, after: int, until: int) -> list[RunRecord]:
    run_ids = {record.run_id for record in _loads(instance, load, after=after, until=until) if _embedded(record)}
    return list(instance.get_run_records(RunsFilter(run_ids=sorted(run_ids)))) if run_ids else []


def _loads(instance: DagsterInstance, load: AssetKey, *, after: int, until: int) -> Iterator[EventLogRecord]:
    """Materializations of chunk_embeddings, one for each partition."""
    events = AssetRecordsFilter(load, after_storage_id=after, before_storage_id=until + 1)
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(events, limit=_PAGE, cursor=cursor, ascending=True)
        yield from page.records
        if not page.has_more:
            return
        cursor = page.cursor


def _embedded(record: EventLogRecord) -> bool:
    """True if that run embedded anything, in its own space or the fallback's."""
    metadata = record.asset_materialization.metadata if record.asset_materialization else {}
    return any(metadata[name].value for name in ("run_embedded", "run_fallback_embedded") if name in metadata)


def _is_dead(instance: DagsterInstance, load: RunRecord) -> bool:
    return time.time() - last_sign(instance, load) >= DEAD_SECONDS


def _leaves_index(instance: DagsterInstance, load: RunRecord, health: AssetKey) -> bool:
    """True if the index was maintained neither by that run nor, from its end on, by another."""
    if not load.dagster_run.is_finished:
        return True  # it was killed before or while it did
    if not load.dagster_run.is_success:
        return False
    planned = instance.get_records_for_run(
        load.dagster_run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    ).records
    if any(record.asset_key == health for record in planned):
        return False
    latest = instance.fetch_materializations(health, limit=1).records
    run = instance.get_run_record_by_id(latest[0].run_id) if latest else None
    return run is None or (run.start_time or 0) < (load.end_time or 0)
