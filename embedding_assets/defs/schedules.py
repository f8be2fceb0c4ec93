"""The nightly run over all partitions: picks up retries that are due and maintains the index."""

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    schedule,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from embedding_assets.defs.effort import THOROUGH_TAG
from embedding_assets.defs.jobs import range_tags
from embedding_assets.defs.table_spec import TableSpec
from embedding_assets.planning import PrefixRange


def nightly_schedule(spec: TableSpec, cron_schedule: str, job: UnresolvedAssetJobDefinition) -> ScheduleDefinition:
    """The schedule of a run over every partition of a table."""

    @schedule(
        name=spec.name("nightly_schedule"),
        job=job,
        cron_schedule=cron_schedule,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Embeds what is pending in every partition and maintains the index. Unlike the runs after new "
        "chunks it counts and reads the whole table.",
    )
    def nightly(context: ScheduleEvaluationContext) -> RunRequest:
        keys = spec.partitions.get_partition_keys()
        return RunRequest(
            run_key=context.scheduled_execution_time.isoformat(),
            tags={**range_tags(PrefixRange(keys[0], keys[-1])), THOROUGH_TAG: "true"},
        )

    return nightly
