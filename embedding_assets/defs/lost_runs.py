"""Partitions that a run has completed which was killed: it could not say so, and they would look unfinished."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from dagster import AssetMaterialization, DagsterRunStatus

from embedding_assets.defs.answering import answer_within
from embedding_assets.defs.metadata import complete_metadata
from embedding_assets.defs.table_spec import EMBEDDINGS
from embedding_assets.errors import EmbeddingAssetsError
from embedding_assets.logs import redact
from embedding_assets.postgres.prefixes import count_pending_by_prefix
from embedding_assets.providers.space_selection import find_for_run

if TYPE_CHECKING:
    from dagster import DagsterInstance, SensorEvaluationContext

    from embedding_assets.config import Settings
    from embedding_assets.defs.table_spec import TableSpec


def completed_by(
    context: SensorEvaluationContext, spec: TableSpec, settings: Settings, runs: Collection[str], *, seconds: float
) -> list[AssetMaterialization]:
    """Materializations of what runs that have ended, in whatever way, left without a chunk to embed and without one.

    Args:
        context: of the tick.
        spec: of the table.
        settings: of the runs.
        runs: by id; of those that succeeded nothing is looked for.
        seconds: for the database to answer; where it does not, there are none, and the nightly run brings them.
    """
    lost = {run_id for run_id in runs if _is_lost(context.instance, spec, run_id)}
    left = _unfinished(context.instance, spec, lost) if lost else set()
    if not left:
        return []

    def look() -> tuple[str, set[str]] | None:
        with spec.open(context) as database:
            _, column = find_for_run(settings, database)
            if column is None:
                return None
            return column.space.name, {*count_pending_by_prefix(database, column, settings.embedding.prefix_length)}

    try:
        found = answer_within(spec.name("lost_runs"), seconds, settings, look)
    except EmbeddingAssetsError as error:  # also of a table that such a run was to adopt
        context.log.info("what killed runs have completed is not known: %s", redact(str(error)))
        return []
    if found is None:
        return []
    space, pending = found
    context.log.info("%d of %d partitions that killed runs have left are complete", len(left - pending), len(left))
    return [
        AssetMaterialization(spec.key(EMBEDDINGS), partition=prefix, metadata=complete_metadata(prefix, space))
        for prefix in sorted(left - pending)
    ]


def _is_lost(instance: DagsterInstance, spec: TableSpec, run_id: str) -> bool:
    """Whether a run has begun to embed and did not succeed; one that never came so far has completed nothing."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status is DagsterRunStatus.SUCCESS:
        return False
    step = spec.key(EMBEDDINGS).to_python_identifier()
    return any(one.start_time is not None for one in instance.get_run_step_stats(run_id, [step]))


def _unfinished(instance: DagsterInstance, spec: TableSpec, runs: Collection[str]) -> set[str]:
    """Partitions that one of these runs was the last to begin, and did not materialize; all where it named none."""
    storage = instance.event_log_storage
    begun = storage.get_latest_asset_partition_materialization_attempts_without_materializations(spec.key(EMBEDDINGS))
    known = {*spec.partitions.get_partition_keys()}
    if any(_names_no_partition(instance, run_id) for run_id in runs):
        return known
    return {partition for partition, (run_id, _) in begun.items() if run_id in runs} & known


def _names_no_partition(instance: DagsterInstance, run_id: str) -> bool:
    """Whether a run was over all partitions without saying so: Dagster knows of none that it began."""
    run = instance.get_run_by_id(run_id)
    return run is not None and not {"dagster/partition", "dagster/asset_partition_range_start"} & {*run.tags}
