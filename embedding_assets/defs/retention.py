"""The nightly job that deletes old runs of a table, so that Dagster's log does not grow for ever."""

from collections.abc import Sequence

from dagster import (
    DefaultScheduleStatus,
    JobDefinition,
    OpExecutionContext,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    in_process_executor,
    job,
    op,
    schedule,
)

from embedding_assets.defs.ownership import PURGE_OP
from embedding_assets.defs.purging import purge_runs_of
from embedding_assets.defs.table_spec import TableSpec

PURGING = "30 3 * * *"
"""In UTC, when the nightly run is over as a rule."""


def purging(spec: TableSpec) -> tuple[Sequence[JobDefinition], Sequence[ScheduleDefinition]]:
    """Job and schedule, where runs of the table are to be deleted at all."""
    days = spec.keep_runs_days
    if days is None:
        return [], []
    description = f"Deletes finished runs of this table that are older than {days} days, with their events and output. "

    # Not called as its job: within a code location the name of each is its own.
    @op(name=spec.name(PURGE_OP), description=description)
    def delete_old_runs(context: OpExecutionContext) -> None:
        deleted = purge_runs_of(context.instance, spec, older_than_days=days)
        context.log.info("deleted %d runs that are older than %d days", deleted, days)

    @job(
        name=spec.purge_job_name,
        description=f"{description}Those with the latest materialization of an asset or partition, or with the latest "
        "result of a check, stay.",
        tags=spec.settings_when_loaded().embedding.run_tags,
        executor_def=in_process_executor,
    )
    def purge() -> None:
        delete_old_runs()

    @schedule(
        name=spec.name("purge_schedule"),
        job=purge,
        cron_schedule=PURGING,
        default_status=DefaultScheduleStatus.RUNNING,
        description=description.strip(),
    )
    def every_night(context: ScheduleEvaluationContext) -> RunRequest:
        return RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return [purge], [every_night]
