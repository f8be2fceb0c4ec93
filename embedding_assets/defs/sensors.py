"""The sensor on new chunks."""

import time
from collections.abc import Iterator

from dagster import (
    AssetKey,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from embedding_assets.config import get_settings
from embedding_assets.defs.jobs import IN_PROGRESS, embedding_job, range_tags
from embedding_assets.defs.resources import PostgresResource
from embedding_assets.planning import PrefixRange, all_prefixes, group_prefixes
from embedding_assets.postgres.chunks import due_prefixes
from embedding_assets.postgres.spaces import serving_space

__all__ = ["new_chunks_sensor"]

MOST_RUNS = 8
"""Runs asked for at a time; narrow gaps between prefixes are bridged to stay below."""

PAUSE_AFTER_FAILURE_SECONDS = 600


@sensor(
    job=embedding_job,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for runs over just the prefixes in which chunks are due, never two at once for the same prefix.",
)
def new_chunks_sensor(context: SensorEvaluationContext, postgres: PostgresResource) -> SensorResult | SkipReason:
    """One probe of the partial index for each prefix, however large the table."""
    length = get_settings().embedding.prefix_length
    failed_since = _seconds_since_failure(context)
    if failed_since is not None and failed_since < PAUSE_AFTER_FAILURE_SECONDS:
        return SkipReason(
            f"the latest run failed {failed_since:.0f} s ago; next try after {PAUSE_AFTER_FAILURE_SECONDS} s"
        )
    prefixes = all_prefixes(length)
    with postgres.open() as database:
        record = serving_space(database)
        due = due_prefixes(database, record, prefixes) if record else prefixes
    if not due:
        return SkipReason("no chunk is due")
    busy = frozenset(prefix for run in _runs_in_progress(context) for prefix in _prefixes_of(run, prefixes))
    ranges = group_prefixes(due, MOST_RUNS, blocked=busy)
    if not ranges:
        return SkipReason(f"{len(due)} prefixes have due chunks; runs for all of them are in progress")
    return SensorResult(run_requests=[RunRequest(tags=range_tags(prefixes)) for prefixes in ranges])


def _runs_in_progress(context: SensorEvaluationContext) -> Iterator[DagsterRun]:
    # Not by job name: runs started from the command line have another.
    for run in context.instance.get_runs(RunsFilter(statuses=IN_PROGRESS)):
        selection = run.asset_selection
        if run.job_name == embedding_job.name or (selection and AssetKey("chunk_embeddings") in selection):
            yield run


def _prefixes_of(run: DagsterRun, prefixes: list[str]) -> list[str]:
    first = run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
    last = run.tags.get("dagster/asset_partition_range_end") or first
    if first is None or last is None:
        return prefixes
    covered = PrefixRange(first, last).buckets
    return [prefix for prefix in prefixes if set(PrefixRange(prefix, prefix).buckets) & set(covered)]


def _seconds_since_failure(context: SensorEvaluationContext) -> float | None:
    """None unless the latest finished run of the job failed: a fault that lasts must not start a run every tick."""
    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    records = context.instance.get_run_records(RunsFilter(job_name=embedding_job.name, statuses=finished), limit=1)
    if not records or records[0].dagster_run.status is not DagsterRunStatus.FAILURE:
        return None
    return time.time() - (records[0].end_time or 0)
