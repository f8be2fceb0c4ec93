"""The sensor on new chunks."""

import time
from collections.abc import Iterator

from dagster import (
    AssetKey,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from embedding_assets.defs.jobs import IN_PROGRESS, STARTED, embedding_job, range_tags
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.pipeline.readiness import check_readiness
from embedding_assets.planning import PrefixRange, all_prefixes, group_prefixes

MOST_RUNS = 8
"""Runs asked for at a time; narrow gaps between prefixes are bridged to stay below."""

PAUSE_AFTER_FAILURE_SECONDS = 600

SILENT_SECONDS = 900
"""A started run that has not logged anything for so long is dead, or done with embedding and building the index."""


@sensor(
    job=embedding_job,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for runs over the prefixes in which chunks are due, never two at once for the same prefix. Few "
    "chunks are one run. Waits while a limit in dollars is used up, or the provider is known to be down.",
)
def new_chunks_sensor(
    context: SensorEvaluationContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> SensorResult | SkipReason:
    """One probe of the partial index for each prefix, however large the table; none of a model or an API."""
    settings = embedding_provider.settings()
    prefixes = all_prefixes(settings.embedding.prefix_length)
    with postgres.open() as database:
        ready = check_readiness(database, settings, prefixes)
    if ready.warning:
        context.log.warning(ready.warning)
    if not ready.prefixes:
        return SkipReason(ready.obstacle or "no chunk is due")
    failed_since = _seconds_since_failure(context)
    if failed_since is not None and failed_since < PAUSE_AFTER_FAILURE_SECONDS:
        return SkipReason(
            f"the latest run failed {failed_since:.0f} s ago; next try after {PAUSE_AFTER_FAILURE_SECONDS} s"
        )
    busy = frozenset(prefix for run in _runs_in_progress(context) for prefix in _prefixes_of(run, prefixes))
    ranges = group_prefixes(ready.prefixes, 1 if ready.few else MOST_RUNS, blocked=busy)
    if not ranges:
        return SkipReason(f"{len(ready.prefixes)} prefixes have due chunks; runs for all of them are in progress")
    return SensorResult(run_requests=[RunRequest(tags=range_tags(prefixes)) for prefixes in ranges])


def _runs_in_progress(context: SensorEvaluationContext) -> Iterator[DagsterRun]:
    # Not by job name: runs started from the command line have another.
    for record in context.instance.get_run_records(RunsFilter(statuses=IN_PROGRESS)):
        run = record.dagster_run
        selection = run.asset_selection
        embeds = AssetKey("chunk_embeddings") in selection if selection else run.job_name == embedding_job.name
        if embeds and (run.status not in STARTED or time.time() - _last_sign(context, record) < SILENT_SECONDS):
            yield run


def _last_sign(context: SensorEvaluationContext, record: RunRecord) -> float:
    # Dagster goes on to call a run started when it was killed on the command line, or with the whole machine.
    logs = context.instance.event_log_storage.get_logs_for_run(record.dagster_run.run_id, limit=1, ascending=False)
    return max([record.update_timestamp.timestamp(), *(entry.timestamp for entry in logs)])


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
