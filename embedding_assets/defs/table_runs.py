"""Dagster's runs of a table, as its sensor sees them: those in progress, and the last that ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.tags import RETRY_NUMBER_TAG

from embedding_assets.defs.jobs import IN_PROGRESS, STARTED, last_sign
from embedding_assets.defs.ownership import is_over
from embedding_assets.defs.table_spec import EMBEDDINGS, HEALTH, TableSpec
from embedding_assets.planning import PrefixRange

if TYPE_CHECKING:
    from dagster import SensorEvaluationContext

SILENT_SECONDS: Final = 60
"""A started run that has not logged anything for so long, and holds no lock, is dead or done with embedding."""

SENSOR_TAG: Final = "dagster/sensor_name"
_LOCATION_TAG: Final = ".dagster/repository"
_JOB_OF_ASSETS: Final = "__ASSET_JOB"
_FINISHED: Final = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]

_MOST_READ: Final = 500
"""Of an instance's runs in progress the newest; where more wait, prefixes are kept apart by their locks alone."""

_PAGE: Final = 50

_MOST_PASSED: Final = 500
"""Finished runs, most of them of others, among which the last of the table is looked for."""

_MOST_OF_OTHERS: Final = 3 * _PAGE
"""The same at every tick while none is known to be cancelled, where others materialize much."""

_TICK_OF_CLOCKS: Final = timedelta(seconds=1)
"""Within which runs may have the same time of creation: SQLite keeps whole seconds."""


def runs_in_progress(context: SensorEvaluationContext, spec: TableSpec) -> list[RunRecord]:
    """Those that embed the table or maintain its index."""
    # Not by job name: runs started from the command line have another, and the project may have jobs of its own.
    records = context.instance.get_run_records(RunsFilter(statuses=IN_PROGRESS), limit=_MOST_READ)
    return [
        record
        for record in records
        if _is_here(context, record.dagster_run)
        and _concerns(context.instance, record.dagster_run, spec, index_alone=True)
    ]


def embeds(instance: DagsterInstance, run: DagsterRun, spec: TableSpec) -> bool:
    """Whether a run embeds the table."""
    return is_over(instance, spec, run, EMBEDDINGS)


def _concerns(instance: DagsterInstance, run: DagsterRun, spec: TableSpec, *, index_alone: bool) -> bool:
    """Whether a run embeds the table, or, if that counts, maintains its index."""
    return embeds(instance, run, spec) or (index_alone and is_over(instance, spec, run, HEALTH))


def is_silent(context: SensorEvaluationContext, record: RunRecord) -> bool:
    """Whether nothing has been heard of a started run for so long that its process may be gone."""
    if record.dagster_run.status not in STARTED:
        return False
    return time.time() - last_sign(context.instance, record) >= SILENT_SECONDS


def prefixes_of(run: DagsterRun, prefixes: list[str]) -> list[str]:
    """Those of ``prefixes`` that a run has to do with."""
    first = run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
    last = run.tags.get("dagster/asset_partition_range_end") or first
    if first is None or last is None:
        return prefixes
    try:
        covered = PrefixRange(first, last).buckets
    except ValueError:  # partitions of the assets that it is for beside the index, which has none
        return prefixes
    return [prefix for prefix in prefixes if set(PrefixRange(prefix, prefix).buckets) & set(covered)]


def location_tags(context: SensorEvaluationContext) -> dict[str, str]:
    """What all runs of this code location have among their tags: another one may have a table of the same name."""
    label = location_label(context)
    return {_LOCATION_TAG: label} if label else {}


def latest_finished(
    context: SensorEvaluationContext, spec: TableSpec, *, known: RunRecord | None = None, index_alone: bool = False
) -> RunRecord | None:
    """The last run that embedded the table and ended, whatever asked for it.

    Args:
        context: of the tick.
        spec: of the table.
        known: a run of the table that was cancelled, so that only later ones are looked for.
        index_alone: whether runs that only maintained its index count too.
    """

    def is_ours(record: RunRecord) -> bool:
        run = record.dagster_run
        if latest is not None and record.storage_id <= latest.storage_id:
            return False
        return _concerns(context.instance, run, spec, index_alone=index_alone)

    latest, most = known, _MOST_OF_OTHERS if known is None else _MOST_PASSED
    # First the table's own job, whose last run is mostly the one: then few of others are left to be read.
    for job in (spec.job_name, _JOB_OF_ASSETS):
        latest = next(filter(is_ours, _finished(context, job, after=latest, most=most)), latest)
    # Then a project's own jobs over the table, of which the cancelled ones alone hold back what is due, and are few.
    cancelled = DagsterRunStatus.CANCELED
    if latest is None or latest.dagster_run.status is not cancelled:
        held = _finished(context, None, after=latest, most=_MOST_OF_OTHERS, statuses=[cancelled])
        latest = next(filter(is_ours, held), latest)
    if latest is not None and latest.dagster_run.status is cancelled:
        latest = next(filter(is_ours, _finished(context, None, after=latest, most=_MOST_OF_OTHERS)), latest)
    return latest


def cancelled_since(
    context: SensorEvaluationContext, spec: TableSpec, record: RunRecord, *, index_alone: bool = False
) -> RunRecord | None:
    """The last run of the table that was cancelled after another one was asked for, however that one ended.

    Of several that the sensor asked for together, none is what a person wants after another was cancelled, nor is one
    that Dagster starts again by itself.
    """
    asked = _asked_for(context, record)
    wanted = RunsFilter(statuses=[DagsterRunStatus.CANCELED], tags=location_tags(context), updated_after=asked)
    ended = {
        one.end_time: one
        for one in context.instance.get_run_records(wanted, limit=_PAGE)
        if one.end_time is not None
        and one.end_time > (asked + _TICK_OF_CLOCKS).timestamp()
        and _concerns(context.instance, one.dagster_run, spec, index_alone=index_alone)
    }
    return ended[max(ended)] if ended else None


def _asked_for(context: SensorEvaluationContext, record: RunRecord) -> datetime:
    """When somebody, or the sensor, asked for a run; one that is a retry was asked for with the first."""
    run = record.dagster_run
    root = run.root_run_id if RETRY_NUMBER_TAG in run.tags else None
    first = root and context.instance.get_run_record_by_id(root)
    return (first or record).create_timestamp


def latest_of_sensor(context: SensorEvaluationContext, spec: TableSpec, sensor: str) -> RunRecord | None:
    """The last run that a sensor of this code location asked for, and that ended."""
    records = _finished(context, spec.job_name, {SENSOR_TAG: sensor})
    return next((record for record in records if embeds(context.instance, record.dagster_run, spec)), None)


def _finished(
    context: SensorEvaluationContext,
    job_name: str | None,
    tags: dict[str, str] | None = None,
    *,
    after: RunRecord | None = None,
    most: int = _MOST_PASSED,
    statuses: Sequence[DagsterRunStatus] = _FINISHED,
) -> Iterator[RunRecord]:
    """The newest first; of those before ``after`` hardly any."""
    wanted = RunsFilter(
        job_name=job_name,
        statuses=statuses,
        tags={**(tags or {}), **location_tags(context)},
        created_after=None if after is None else after.create_timestamp - _TICK_OF_CLOCKS,
    )
    cursor: str | None = None
    for _ in range(most // _PAGE):
        page = context.instance.get_run_records(wanted, limit=_PAGE, cursor=cursor)
        yield from page
        if len(page) < _PAGE:
            return
        cursor = page[-1].dagster_run.run_id


def _is_here(context: SensorEvaluationContext, run: DagsterRun) -> bool:
    """Whether a run is of this code location, or of none: another one may have a table of the same name."""
    label = location_label(context)
    origin = run.remote_job_origin
    return label is None or origin is None or origin.repository_origin.get_label() == label


def location_label(context: SensorEvaluationContext) -> str | None:
    """By which Dagster calls this code location in the tags of its runs."""
    location = context.code_location_origin
    if location is None or context.repository_name is None:
        return None
    return f"{context.repository_name}@{location.location_name}"
