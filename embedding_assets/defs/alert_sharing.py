"""Runs over several tables that post to one webhook: which of their sensors posts, so that each is posted once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    RunStatusChangeRecordsFilter,
    RunStatusSensorContext,
)
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor
from dagster._core.scheduler.instigation import InstigatorType

from embedding_assets.defs.ownership import owns
from embedding_assets.defs.run_watching import RunWatcher, read_cursor
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.errors import ConfigurationError

FAILED_RUNS: Final = "failed_runs_sensor"

_MOST_CHANGES: Final = 200
"""Failed runs behind another sensor's cursor that are looked through."""


def is_of(context: RunStatusSensorContext, spec: TableSpec) -> bool:
    """Whether a run is for assets or checks of the table."""
    run = context.dagster_run
    keys = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return run.job_name in spec.job_names or any(owns(spec, key) for key in keys or _planned(context.instance, run))


def tables_posted_together(context: RunStatusSensorContext, spec: TableSpec) -> list[TableSpec]:
    """The tables, by name, that a failed run is for and whose sensors, on or off, post to the same webhook."""
    together = {spec.key_prefix: spec}
    if context.repository_def is not None:
        for sensor in context.repository_def.sensor_defs:
            if isinstance(sensor, RunWatcher):
                other = sensor.table
                if sensor.name == other.name(FAILED_RUNS) and _posts_alike(spec, other) and is_of(context, other):
                    together[other.key_prefix] = other
    return [together[prefix] for prefix in sorted(together)]


def other_poster(context: RunStatusSensorContext, spec: TableSpec, tables: Sequence[TableSpec]) -> str | None:
    """The sensor that has posted a failed run over these tables, or will; None where that of ``spec`` is to post it.

    Each sensor finds that out for itself: they run at the same time, so that none could wait to see what another one
    does. The first by name posts, of those that are on and will come to the run: one that is new only notes, in its
    first tick, where the log ends. Where that changed in between, it is posted twice rather than never.
    """
    sensors = [table.name(FAILED_RUNS) for table in tables]
    before = sensors[: sensors.index(spec.name(FAILED_RUNS))]
    # Looked at first: once a sensor has posted, Dagster notes that in the run's log, and then moves its cursor.
    cursors = _cursors(context) if before else {}
    coming = [name for name in before if name in cursors and _comes_to(context, cursors[name])]
    return next(iter([*_posted(context, sensors), *coming]), None)


def _posts_alike(spec: TableSpec, other: TableSpec) -> bool:
    try:
        return other.settings().alert.webhook_url == spec.settings().alert.webhook_url
    except ConfigurationError:  # which its own sensor shows
        return False


def _cursors(context: RunStatusSensorContext) -> dict[str, str]:
    """Cursors of the sensors of this code location that are on and have ticked, by name."""
    origin = context.dagster_run.remote_job_origin
    if origin is None:
        return {}
    label = origin.repository_origin.get_label()
    found = {}
    for state in context.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.sensor_instigator_data
        if state.is_running and data and data.cursor and state.origin.repository_origin.get_label() == label:
            found[state.instigator_name] = data.cursor
    return found


def _comes_to(context: RunStatusSensorContext, cursor: str) -> bool:
    """Whether the run failed behind a cursor; one that is far behind comes to it so late that it finds it posted."""
    looked, _ = read_cursor(cursor)
    if looked is None or not RunStatusSensorCursor.is_valid(looked):
        return False
    after = RunStatusChangeRecordsFilter(
        DagsterEventType.RUN_FAILURE, after_storage_id=RunStatusSensorCursor.from_json(looked).record_id
    )
    changes = context.instance.fetch_run_status_changes(after, limit=_MOST_CHANGES, ascending=True)
    return any(change.event_log_entry.run_id == context.dagster_run.run_id for change in changes.records)


def _posted(context: RunStatusSensorContext, sensors: Sequence[str]) -> list[str]:
    """Those that have reacted to the run, by what Dagster's daemon notes in the run's log."""
    run_id = context.dagster_run.run_id
    records = context.instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT).records
    events = [record.event_log_entry.dagster_event for record in records]
    notes = [event.message or "" for event in events if event]
    return [name for name in sensors if any(note.startswith(f'Sensor "{name}" acted on run') for note in notes)]


def _planned(instance: DagsterInstance, run: DagsterRun) -> Iterator[AssetKey]:
    """What a run of a whole job set out to do, which it names nowhere else."""
    for kind in (DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
        for record in instance.get_records_for_run(run.run_id, of_type=kind).records:
            event = record.event_log_entry.dagster_event
            if event is not None and kind is DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                yield event.asset_check_planned_data.asset_key
            elif event is not None and event.asset_key is not None:
                yield event.asset_key
