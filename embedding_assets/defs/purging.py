"""Removal of old runs of a table, of which Dagster itself keeps every event for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
)
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._time import get_current_datetime

from embedding_assets.defs.last_result import JUDGED
from embedding_assets.defs.ownership import has_name_of, is_of_job, owns_in
from embedding_assets.defs.table_spec import TableSpec, parts_of_prefix
from embedding_assets.health.checks import CHECKS

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
    return purge_runs_of(instance, TableSpec(key_prefix=parts_of_prefix(key_prefix)), older_than_days=older_than_days)


def purge_runs_of(instance: DagsterInstance, spec: TableSpec, *, older_than_days: float) -> int:
    """The same for a table whose definitions are known, so that it is too whether ``documents`` is its own."""
    kept = {*_latest_materializations(instance, spec), *_latest_evaluations(instance, spec)}
    # All first: a page is found by the last run of the one before.
    old = [run_id for run_id in _old_runs(instance, spec, older_than_days) if run_id not in kept]
    for start in range(0, len(old), _PAGE):
        page = old[start : start + _PAGE]
        # Before the runs, so that what is cut off here is done by the next purge.
        _delete_evaluations(instance, spec, page)
        for run_id in page:
            _purge(instance, run_id)
    return len(old)


def _purge(instance: DagsterInstance, run_id: str) -> None:
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        # A run has a file of its own, which Dagster empties and keeps as large as it was.
        path = Path(storage.path_for_shard(run_id))
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            file.unlink(missing_ok=True)


def _delete_evaluations(instance: DagsterInstance, spec: TableSpec, run_ids: list[str]) -> None:
    """Remove the results of checks, of which Dagster has a table apart that it leaves as it is with a run's end."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return
    rows = AssetCheckExecutionsTable.c
    with storage.index_connection() as connection:
        # By check: the table has no index on runs alone.
        for key in _checks(spec):
            connection.execute(
                AssetCheckExecutionsTable.delete().where(
                    rows.asset_key == key.asset_key.to_string(),
                    rows.check_name == key.name,
                    rows.run_id.in_(run_ids),
                )
            )


def _old_runs(instance: DagsterInstance, spec: TableSpec, days: float) -> Iterator[str]:
    wanted = RunsFilter(statuses=_FINISHED, created_before=get_current_datetime() - timedelta(days=days))
    cursor: str | None = None
    while True:
        page = instance.get_run_records(wanted, limit=_PAGE, cursor=cursor)
        for record in page:
            cursor = record.dagster_run.run_id
            if _is_of(instance, record.dagster_run, spec):
                yield cursor
        if len(page) < _PAGE:
            return


def _is_of(instance: DagsterInstance, run: DagsterRun, spec: TableSpec) -> bool:
    """Whether a run is for assets and checks of the table alone."""
    keys = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return all(owns_in(instance, spec, run, key) for key in keys) if keys else is_of_job(instance, spec, run)


def _latest_materializations(instance: DagsterInstance, spec: TableSpec) -> Iterator[str]:
    for key in filter(partial(has_name_of, spec), instance.all_asset_keys()):
        for partition in [None, *sorted(_partitions(instance, key))]:
            wanted = AssetRecordsFilter(key, asset_partitions=None if partition is None else [partition])
            for record in instance.fetch_materializations(wanted, limit=1).records:
                yield record.run_id


def _partitions(instance: DagsterInstance, key: AssetKey) -> set[str]:
    return {str(partition) for partition in instance.get_materialized_partitions(key)}


def _latest_evaluations(instance: DagsterInstance, spec: TableSpec) -> Iterator[str]:
    for key in _checks(spec):
        # A run that crashed leaves one that was planned.
        for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=1, status=JUDGED):
            yield record.run_id


def _checks(spec: TableSpec) -> list[AssetCheckKey]:
    return [AssetCheckKey(spec.key(check.subject), check.name) for check in CHECKS]
