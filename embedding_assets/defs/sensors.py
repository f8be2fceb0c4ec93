"""The sensor on new chunks of a table."""

import time
from collections.abc import Iterable, Sequence
from typing import Final

from dagster import (
    DagsterRun,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from embedding_assets.config import Settings
from embedding_assets.defs.answering import answer_within
from embedding_assets.defs.jobs import EMBEDDING, range_tags
from embedding_assets.defs.lingering import LINGER_SECONDS, linger, room_to_linger
from embedding_assets.defs.lost_runs import completed_by
from embedding_assets.defs.pauses import SensorNotes, pause, was_cancelled
from embedding_assets.defs.table_look import TableLook, look_at_table, look_before_adoption
from embedding_assets.defs.table_runs import embeds, is_silent, location_label, prefixes_of, runs_in_progress
from embedding_assets.defs.table_spec import HEALTH, TableSpec
from embedding_assets.errors import ConfigurationError, DatabaseError, TableNotAdoptedError
from embedding_assets.logs import redact
from embedding_assets.planning import PrefixRange, all_prefixes, group_prefixes, split_ranges

MOST_RUNS = 8
"""For due prefixes with gaps between them; more gaps are bridged."""

CHECK_SECONDS: Final = 4
"""Least time from tick to tick: a look is one probe of an index for each prefix.

Less than the five seconds after which Dagster's daemon looks again: with as many, a look that comes a few milliseconds
early finds the tick not due yet and is left out, as one in three was.
"""

ANSWER_SECONDS: Final = 40.0
"""For the database to answer a tick, of which Dagster cuts one off after 60 s without saying why."""

_QUICK_SECONDS: Final = 2.0
"""A look that took longer is not followed by another in the same tick."""

_LINGERING_ANSWER_SECONDS: Final = 3.0
_LOST_RUNS_SECONDS: Final = 5.0
"""For the database between and after looks: all of a tick together takes less than the 60 s."""

_NOTHING_IS_DUE: Final = "no chunk is due"
_NAME: Final = "new_chunks_sensor"


def new_chunks_sensor(spec: TableSpec, job: UnresolvedAssetJobDefinition) -> SensorDefinition:
    """The sensor that asks for runs of a table's job."""

    @sensor(
        name=spec.name(_NAME),
        job=job,
        minimum_interval_seconds=CHECK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        required_resource_keys=spec.resource_keys,
        description="Asks for runs over the prefixes in which chunks are due, never two at once for the same prefix; "
        "few chunks are one run. It waits while a limit in dollars is used up or the provider is known to be down, for "
        "ten minutes after a run that it asked for has failed, and after one that a person cancelled until further "
        "rows come. Where an index is missing that no run is about to build, it asks for a run that builds it. It "
        "changes no table itself: the first run adopts one that is to be adopted.",
    )
    def new_chunks(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        return ask_for_runs(context, spec)

    return new_chunks


def ask_for_runs(context: SensorEvaluationContext, spec: TableSpec) -> SensorResult | SkipReason:
    """One probe of the partial index for each prefix, however large the table; none of a model or an API."""
    notes = SensorNotes(context.cursor)
    begun = time.monotonic()
    try:
        outcome = _look_and_ask(context, spec, notes)
        is_idle = isinstance(outcome, SkipReason) and outcome.skip_message == _NOTHING_IS_DUE
        if is_idle and time.monotonic() - begun < _QUICK_SECONDS and _linger(spec, context):
            outcome = _look_and_ask(context, spec, notes)
    except (ConfigurationError, DatabaseError) as error:
        # Neither a fault of this sensor, nor one that its stack would explain. Skipped ticks are kept for a day, failed
        # ones, of which there would be one every five seconds, for a month.
        return SkipReason(redact(str(error)))
    if notes.write() != (context.cursor or "{}"):
        context.update_cursor(notes.write())
    return outcome


def _look_and_ask(context: SensorEvaluationContext, spec: TableSpec, notes: SensorNotes) -> SensorResult | SkipReason:
    settings = spec.run_settings(context)
    records = runs_in_progress(context, spec)
    silent = {record.dagster_run.run_id: record.dagster_run for record in records if is_silent(context, record)}
    look = answer_within(spec.name(_NAME), ANSWER_SECONDS, settings, lambda: _look(spec, context, settings, silent))
    prefixes = all_prefixes(settings.embedding.prefix_length)
    # A silent run whose connections were lost has its prefixes again before anything else.
    dead = {i for i, run in silent.items() if i not in look.alive and look.busy.isdisjoint(prefixes_of(run, prefixes))}
    runs = [record.dagster_run for record in records if record.dagster_run.run_id not in dead]
    embedding = [run for run in runs if embeds(context.instance, run, spec)]
    ended = notes.ended(run.run_id for run in embedding)
    # Else it would be shown after the next night only.
    completed = completed_by(context, spec, settings, ended, seconds=_LOST_RUNS_SECONDS)
    asked = _ask(context, spec, settings, look, notes, runs=runs, embedding=embedding)
    if not completed:
        return asked
    if isinstance(asked, SkipReason):
        return SensorResult(skip_reason=asked, asset_events=completed)
    return SensorResult(run_requests=asked.run_requests, asset_events=completed)


def _ask(
    context: SensorEvaluationContext,
    spec: TableSpec,
    settings: Settings,
    look: TableLook,
    notes: SensorNotes,
    *,
    runs: Sequence[DagsterRun],
    embedding: Sequence[DagsterRun],
) -> SensorResult | SkipReason:
    """Runs for what was seen; ``embedding`` are those of ``runs``, which are in progress, that embed."""
    prefixes = all_prefixes(settings.embedding.prefix_length)
    if look.ready.warning:
        context.log.warning(look.ready.warning)
    ranges, reason = [], look.ready.obstacle or _NOTHING_IS_DUE
    if look.ready.prefixes:
        busy = look.busy.union(*(prefixes_of(run, prefixes) for run in embedding))
        reason = pause(context, spec, spec.name(_NAME), look, notes)
        ranges = [] if reason else _ranges(settings, look, busy, runs=len(embedding))
        reason = reason or f"{len(look.ready.prefixes)} prefixes have due chunks; runs for all of them are in progress"
    elif not look.ready.obstacle:
        notes.nothing_is_due()
    if ranges:
        # Of the job's assets those alone that chunks are for.
        keys = [spec.key(name) for name in EMBEDDING]
        return SensorResult(run_requests=[RunRequest(tags=range_tags(part), asset_selection=keys) for part in ranges])
    if not look.missing:
        notes.forget_indexes()
    elif not runs and not was_cancelled(context, spec, notes) and notes.may_ask_for(look.missing):
        context.log.info("asking for a run that builds %s", ", ".join(look.missing))
        return SensorResult(run_requests=[RunRequest(asset_selection=[spec.key(HEALTH)])])
    return SkipReason(reason)


def _linger(spec: TableSpec, context: SensorEvaluationContext) -> bool:
    """Whether chunks came within some seconds; runs that began meanwhile are to be looked at then, too."""
    settings = spec.run_settings(context)

    def wait() -> bool:
        with spec.open(context) as database:
            return linger(database, settings)

    label = location_label(context)
    with room_to_linger(context.instance, (label, spec.name(_NAME)) if label else None) as has_room:
        return has_room and answer_within(
            spec.name("lingering"), LINGER_SECONDS + _LINGERING_ANSWER_SECONDS, settings, wait
        )


def _look(spec: TableSpec, context: SensorEvaluationContext, settings: Settings, silent: Iterable[str]) -> TableLook:
    try:
        with spec.open(context) as database:
            return look_at_table(database, settings, list(silent))
    except TableNotAdoptedError as error:
        if not spec.adopt:
            raise
        with spec.before_adoption(context):  # or a run would be asked for that fails
            return look_before_adoption(all_prefixes(settings.embedding.prefix_length), str(error))


def _ranges(settings: Settings, look: TableLook, busy: frozenset[str], *, runs: int) -> list[PrefixRange]:
    # On a cluster one run spreads the work itself.
    alone = look.ready.few or settings.ray.address is not None
    parallel = settings.embedding.parallel_runs
    ranges = group_prefixes(look.ready.prefixes, 1 if alone else max(MOST_RUNS, parallel), blocked=busy)
    # Those that other runs leave of them, so that a cluster is used whole.
    return ranges if alone else split_ranges(ranges, parallel - runs)
