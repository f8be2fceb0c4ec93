"""Runs over several tables that post to one webhook: which of their sensors posts, so that each is posted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRun, RunStatusSensorContext
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

from embedding_assets.defs.ownership import owns
from embedding_assets.defs.run_watching import RunWatcher
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.errors import ConfigurationError

FAILED_RUNS: Final = "failed_runs_sensor"


def is_of(context: RunStatusSensorContext, spec: TableSpec) -> bool:
    """Whether a run is for assets or checks of the table."""
    run = context.dagster_run
    keys = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return run.job_name in spec.job_names or any(owns(spec, key) for key in keys or _planned(context.instance, run))


def tables_posted_together(context: RunStatusSensorContext, spec: TableSpec) -> list[TableSpec]:
    """The tables that a failed run is for and whose sensors post to the same webhook; that of the first posts.

    Found out by each sensor for itself, in the same way: they run at the same time, so that none could wait to see
    what another one does.
    """
    together = {spec.key_prefix: spec}
    if context.repository_def is not None:
        stopped = _stopped(context)
        for sensor in context.repository_def.sensor_defs:
            if isinstance(sensor, RunWatcher) and sensor.name not in stopped:
                other = sensor.table
                if sensor.name == other.name(FAILED_RUNS) and _posts_alike(spec, other) and is_of(context, other):
                    together[other.key_prefix] = other
    return [together[prefix] for prefix in sorted(together)]


def _posts_alike(spec: TableSpec, other: TableSpec) -> bool:
    try:
        return other.settings().alert.webhook_url == spec.settings().alert.webhook_url
    except ConfigurationError:  # which its own sensor shows
        return False


def _stopped(context: RunStatusSensorContext) -> set[str]:
    """Names of the sensors of this code location that were switched off."""
    origin = context.dagster_run.remote_job_origin
    if origin is None:
        return set()
    label = origin.repository_origin.get_label()
    states = context.instance.all_instigator_state(
        instigator_type=InstigatorType.SENSOR, instigator_statuses={InstigatorStatus.STOPPED}
    )
    return {state.instigator_name for state in states if state.origin.repository_origin.get_label() == label}


def _planned(instance: DagsterInstance, run: DagsterRun) -> Iterator[AssetKey]:
    """What a run of a whole job set out to do, which it names nowhere else."""
    for kind in (DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
        for record in instance.get_records_for_run(run.run_id, of_type=kind).records:
            event = record.event_log_entry.dagster_event
            if event is not None and kind is DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                yield event.asset_check_planned_data.asset_key
            elif event is not None and event.asset_key is not None:
                yield event.asset_key
