"""Asset checks: the catalogue of ``embedding_assets.health.checks`` as Dagster's specs, its verdicts as results."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    asset_check,
    multi_asset_check,
)

from embedding_assets.config import Settings
from embedding_assets.defs.effort import total_written, written_by
from embedding_assets.defs.last_result import last_result
from embedding_assets.defs.run_scope import in_run
from embedding_assets.defs.table_spec import EMBEDDINGS, HEALTH, PENDING, TableSpec
from embedding_assets.errors import PgvectorError, TableNotAdoptedError
from embedding_assets.health.checks import CHECKS, COLUMNS_UNCHANGED, COSTS_WITHIN_BUDGET, VECTORS_MATCH_MODEL, Check
from embedding_assets.health.columns import columns_unchanged as judge_columns
from embedding_assets.health.columns import find_column_changes
from embedding_assets.health.judge import judge_costs, judge_embeddings, judge_index, judge_models
from embedding_assets.health.verdict import Number, Verdict
from embedding_assets.logs import correlate
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.table_columns import describe_columns
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets.spaces import SpaceColumn

_ALONE = (VECTORS_MATCH_MODEL, COSTS_WITHIN_BUDGET)
_SET = ("floor", "ceiling", "limit_hours", "drop_allowed")
_BY_NAME = {check.name: check for check in CHECKS}


def table_checks(spec: TableSpec) -> list[AssetChecksDefinition]:
    """The checks of a table's vectors, costs and indexes."""
    options: dict[str, Any] = {"required_resource_keys": spec.resource_keys}

    # can_subset: otherwise the UI could only run a check with the asset, which repairs first what the check looks for.
    @multi_asset_check(name=spec.name("embedding_checks"), specs=_specs(spec, EMBEDDINGS), can_subset=True, **options)
    @in_run(spec.set_here)
    def embedding_checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        """Verdicts on the stored vectors and the backlog."""
        judge = partial(judge_embeddings, written=total_written(context, spec))
        yield from _results(context, _judged(context, spec, judge))

    @asset_check(
        asset=spec.key(EMBEDDINGS),
        blocking=VECTORS_MATCH_MODEL.blocking,
        description=VECTORS_MATCH_MODEL.description,
        **options,
    )
    @in_run(spec.set_here)
    def vectors_match_model(context: AssetCheckExecutionContext) -> AssetCheckResult:
        """Verdict on whose vectors the columns hold."""
        written = written_by(context, spec)
        if written is not None and not any(written.values()):
            kept = last_result(context, spec.key(EMBEDDINGS), VECTORS_MATCH_MODEL.name)
            if kept is not None:
                return kept
        with correlate(context.run.run_id), spec.open(context) as database:
            return as_result(judge_models(database, spec.run_settings(context), written=written))

    @asset_check(
        asset=spec.key(EMBEDDINGS),
        blocking=COSTS_WITHIN_BUDGET.blocking,
        description=COSTS_WITHIN_BUDGET.description,
        **options,
    )
    @in_run(spec.set_here)
    def costs_within_budget(context: AssetCheckExecutionContext) -> AssetCheckResult:
        """Verdict on the dollars of this run, of today and of this month."""
        with correlate(context.run.run_id), spec.open(context) as database:
            return as_result(judge_costs(database, spec.run_settings(context), run_id=context.run.run_id))

    @multi_asset_check(name=spec.name("index_checks"), specs=_specs(spec, HEALTH), can_subset=True, **options)
    @in_run(spec.set_here)
    def index_checks(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        """Verdicts on the vector indexes."""
        try:
            verdicts = _judged(context, spec, partial(judge_index, written=total_written(context, spec)))
        except PgvectorError as error:
            # The database is not even opened then, and nothing is known of its indexes.
            verdicts = [Verdict(check.name, check.severity, False, str(error)) for check in _selected(context)]
        yield from _results(context, verdicts)

    return [*_column_checks(spec, options), embedding_checks, vectors_match_model, costs_within_budget, index_checks]


def _column_checks(spec: TableSpec, options: dict[str, Any]) -> list[AssetChecksDefinition]:
    """The check of a table's columns, where it is one that somebody else makes and changes."""
    if spec.is_own:
        return []

    @asset_check(
        asset=spec.key(PENDING),
        blocking=COLUMNS_UNCHANGED.blocking,
        description=COLUMNS_UNCHANGED.description,
        **options,
    )
    @in_run(spec.set_here)
    def columns_unchanged(context: AssetCheckExecutionContext) -> AssetCheckResult:
        """Verdict on the columns of the table."""
        try:
            with correlate(context.run.run_id), spec.open(context) as database:
                return as_result(_judged_columns(database))
        except TableNotAdoptedError as error:
            if not spec.adopt:
                raise
            return as_result(COLUMNS_UNCHANGED.verdict(True, str(error)))

    return [columns_unchanged]


def _judged_columns(database: Database) -> Verdict:
    table = database.table
    if table.is_own:  # as was not known when the definitions were loaded
        return COLUMNS_UNCHANGED.verdict(True, f"{table} is made by embedding-assets itself")
    return judge_columns(table, find_column_changes(table, describe_columns(database), list_spaces(database)))


def _specs(spec: TableSpec, subject: str) -> list[AssetCheckSpec]:
    """Of the checks of an asset that are judged together."""
    together = [check for check in CHECKS if check.subject == subject and check not in _ALONE]
    return [
        AssetCheckSpec(check.name, asset=spec.key(subject), description=check.description, blocking=check.blocking)
        for check in together
    ]


def _judged(
    context: AssetCheckExecutionContext,
    spec: TableSpec,
    judge: Callable[[Database, SpaceColumn, Settings], list[Verdict]],
) -> list[Verdict]:
    with correlate(context.run.run_id), spec.open(context) as database:
        if has_chunks(database):
            settings = spec.run_settings(context)
            return judge(database, select_for_run(settings, database).column, settings)
        # An empty table is in order, and judging it must not need a model.
        return [check.verdict(True, database.table.emptiness) for check in _selected(context)]


def _selected(context: AssetCheckExecutionContext) -> list[Check]:
    return [_BY_NAME[name] for name in sorted(key.name for key in context.selected_asset_check_keys)]


def _results(context: AssetCheckExecutionContext, verdicts: Iterable[Verdict]) -> Iterator[AssetCheckResult]:
    """Of those checks that this run is to execute."""
    selected = {check.name for check in _selected(context)}
    for verdict in verdicts:
        if verdict.name in selected:
            yield as_result(verdict)


def as_result(verdict: Verdict) -> AssetCheckResult:
    """A verdict as Dagster shows it."""
    return AssetCheckResult(
        check_name=verdict.name,
        passed=verdict.passed,
        severity=AssetCheckSeverity.ERROR if verdict.severity == "error" else AssetCheckSeverity.WARN,
        description=verdict.description,
        metadata={name: _shown(name, value) for name, value in verdict.numbers.items()},
    )


def _shown(name: str, value: Number) -> Number:
    """A number that Dagster draws; one that is set, and would be a flat line, as text."""
    return f"{value:g}" if name in _SET and isinstance(value, float | int) else value
