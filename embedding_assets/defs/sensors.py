"""The sensor on new chunks of a table."""

import time
from collections.abc import Iterator

from dagster import (
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from embedding_assets.config import Settings
from embedding_assets.defs.jobs import EMBEDDING, IN_PROGRESS, STARTED, last_sign, range_tags
from embedding_assets.defs.table_spec import EMBEDDINGS, TableSpec
from embedding_assets.pipeline.readiness import check_readiness
from embedding_assets.planning import PrefixRange, all_prefixes, group_prefixes, split_ranges
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import busy_buckets, is_announced
from embedding_assets.providers.space_selection import find_for_run

MOST_RUNS = 8
"""For due prefixes with gaps between them; more gaps are bridged."""

PAUSE_AFTER_FAILURE_SECONDS = 600

SILENT_SECONDS = 60
"""A started run that has not logged anything for so long, and holds no lock, is dead or done with embedding."""


def new_chunks_sensor(spec: TableSpec, job: UnresolvedAssetJobDefinition) -> SensorDefinition:
    """The sensor that asks for runs of a table's job."""

    @sensor(
        name=spec.name("new_chunks_sensor"),
        job=job,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys=spec.resource_keys,
        description="Asks for runs over the prefixes in which chunks are due, never two at once for the same prefix. "
        "Few chunks are one run. Waits while a limit in dollars is used up, or the provider is known to be down.",
    )
    def new_chunks(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        return ask_for_runs(context, spec)

    return new_chunks


def ask_for_runs(context: SensorEvaluationContext, spec: TableSpec) -> SensorResult | SkipReason:
    """One probe of the partial index for each prefix, however large the table; none of a model or an API."""
    settings = spec.run_settings(context)
    prefixes = all_prefixes(settings.embedding.prefix_length)
    with spec.open(context) as database:
        ready = check_readiness(database, settings, prefixes)
        runs = list(_runs_in_progress(context, spec, database, settings)) if ready.prefixes else []
    busy = frozenset(prefix for run in runs for prefix in _prefixes_of(run, prefixes))
    if ready.warning:
        context.log.warning(ready.warning)
    if not ready.prefixes:
        return SkipReason(ready.obstacle or "no chunk is due")
    if pause := _pause(context, spec):
        return SkipReason(pause)
    # On a cluster one run spreads the work itself.
    alone = ready.few or settings.ray.address is not None
    parallel = settings.embedding.parallel_runs
    ranges = group_prefixes(ready.prefixes, 1 if alone else max(MOST_RUNS, parallel), blocked=busy)
    if not alone:
        # Those that other runs leave of them, so that a cluster is used whole.
        ranges = split_ranges(ranges, parallel - len(runs))
    if not ranges:
        return SkipReason(f"{len(ready.prefixes)} prefixes have due chunks; runs for all of them are in progress")
    # Of the job's assets those alone that chunks are for.
    keys = [spec.key(name) for name in EMBEDDING]
    return SensorResult(
        run_requests=[RunRequest(tags=range_tags(prefixes), asset_selection=keys) for prefixes in ranges]
    )


def _runs_in_progress(
    context: SensorEvaluationContext, spec: TableSpec, database: Database, settings: Settings
) -> Iterator[DagsterRun]:
    # Not by job name: runs started from the command line have another.
    for record in context.instance.get_run_records(RunsFilter(statuses=IN_PROGRESS)):
        run = record.dagster_run
        selection = run.asset_selection
        embeds = spec.key(EMBEDDINGS) in selection if selection else run.job_name == spec.job_name
        if embeds and (run.status not in STARTED or _is_alive(context, record, database, settings)):
            yield run


def _is_alive(context: SensorEvaluationContext, record: RunRecord, database: Database, settings: Settings) -> bool:
    run = record.dagster_run
    if time.time() - last_sign(context.instance, record) < SILENT_SECONDS or is_announced(database, run.run_id):
        return True
    # Its connections may have been lost: then it has its prefixes again before anything else.
    _, column = find_for_run(settings, database)
    if column is None:
        return False
    length = settings.embedding.prefix_length
    busy = {format(bucket, "02x")[:length] for bucket in busy_buckets(database, column.space.name)}
    return not busy.isdisjoint(_prefixes_of(run, all_prefixes(length)))


def _prefixes_of(run: DagsterRun, prefixes: list[str]) -> list[str]:
    first = run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
    last = run.tags.get("dagster/asset_partition_range_end") or first
    if first is None or last is None:
        return prefixes
    covered = PrefixRange(first, last).buckets
    return [prefix for prefix in prefixes if set(PrefixRange(prefix, prefix).buckets) & set(covered)]


def _pause(context: SensorEvaluationContext, spec: TableSpec) -> str:
    """Why nothing is asked for just now: a fault that lasts, or a run that somebody has stopped; empty if it may be."""
    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    records = context.instance.get_run_records(RunsFilter(job_name=spec.job_name, statuses=finished), limit=1)
    if not records or records[0].dagster_run.status is DagsterRunStatus.SUCCESS:
        return ""
    since = time.time() - (records[0].end_time or 0)
    left = PAUSE_AFTER_FAILURE_SECONDS - since
    if left <= 0:
        return ""
    if records[0].dagster_run.status is DagsterRunStatus.FAILURE:
        return f"the latest run failed {since:.0f} s ago; the next is asked for in {left:.0f} s"
    return (
        f"the latest run was cancelled {since:.0f} s ago; the next is asked for in {left:.0f} s. To ask for none, "
        "switch this sensor off: on Dagster's page Automation, or with "
        f"`dagster sensor stop {spec.name('new_chunks_sensor')}`"
    )
