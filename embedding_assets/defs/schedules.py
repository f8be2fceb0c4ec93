"""The nightly run over all partitions: picks up retries that are due and maintains the index."""

from dagster import DefaultScheduleStatus, RunRequest, ScheduleEvaluationContext, schedule

from embedding_assets.defs.effort import THOROUGH_TAG
from embedding_assets.defs.jobs import embedding_job, range_tags
from embedding_assets.defs.partitions import prefix_partitions
from embedding_assets.planning import PrefixRange


@schedule(
    job=embedding_job,
    cron_schedule="0 2 * * *",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every partition, at two in the morning; the only run by itself that counts and reads the table whole.",
)
def nightly_schedule(context: ScheduleEvaluationContext) -> RunRequest:
    """One run over the whole range."""
    keys = prefix_partitions.get_partition_keys()
    return RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags={**range_tags(PrefixRange(keys[0], keys[-1])), THOROUGH_TAG: "true"},
    )
