"""Removal of old runs of a table, of which Dagster itself keeps every event for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
)
from dagster._core.storage.event_log import SqliteEventLogStorage

from embedding_assets.defs.table_spec import NAMES, TableSpec, parts_of_prefix
from embedding_assets.health.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Sequence

_FINISHED: Final = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_PAGE: Final = 200


def purge_runs(instance: DagsterInstance, *, older_than_days: float, key_prefix: str | Sequence[str] = ()) -> int:
    """Delete a table's finished runs with their events and captured output; returns how many.

    Kept are those that have the latest materialization of an asset or partition, or a check's latest result, so that
    the catalog shows what it showed, and runs over assets of others.

    Args:
        instance: of Dagster.
        older_than_days: by the time that they were created.
        key_prefix: of the table's assets, ``"shop"``, ``"shop/articles"`` or ``["shop", "articles"]``.

    Raises:
        ConfigurationError: the prefix is not acceptable.
    """
    spec = TableSpec(key_prefix=parts_of_prefix(key_prefix))
    kept = {*_latest_materializations(instance, spec), *_latest_evaluations(instance, spec)}
    before = time.time() - 86_400 * older_than_days
    purged = 0
    # All first: a page is found by the last run of the one before.
    for record in list(_finished(instance, spec)):
        if record.create_timestamp.timestamp() < before and record.dagster_run.run_id not in kept:
            _purge(instance, record.dagster_run.run_id)
            purged += 1
    return purged


def _purge(instance: DagsterInstance, run_id: str) -> None:
    # Before the run, so that what is cut off here is done by the next purge.
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        # A run has a file of its own, which Dagster empties and keeps as large as it was.
        path = Path(storage.path_for_shard(run_id))
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            file.unlink(missing_ok=True)


def _finished(instance: DagsterInstance, spec: TableSpec) -> Iterator[RunRecord]:
    cursor: str | None = None
    while True:
        page = instance.get_run_records(RunsFilter(statuses=_FINISHED), limit=_PAGE, cursor=cursor)
        for record in page:
            run = record.dagster_run
            cursor = run.run_id
            if all(map(spec.owns, run.asset_selection)) if run.asset_selection else run.job_name == spec.job_name:
                yield record
        if len(page) < _PAGE:
            return


def _latest_materializations(instance: DagsterInstance, spec: TableSpec) -> Iterator[str]:
    for key in map(spec.key, NAMES):
        for partition in [None, *sorted(_partitions(instance, key))]:
            wanted = AssetRecordsFilter(key, asset_partitions=None if partition is None else [partition])
            for record in instance.fetch_materializations(wanted, limit=1).records:
                yield record.run_id


def _partitions(instance: DagsterInstance, key: AssetKey) -> set[str]:
    return {str(partition) for partition in instance.get_materialized_partitions(key)}


def _latest_evaluations(instance: DagsterInstance, spec: TableSpec) -> Iterator[str]:
    for check in CHECKS:
        key = AssetCheckKey(spec.key(check.subject), check.name)
        for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=1):
            yield record.run_id
