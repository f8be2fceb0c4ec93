"""Asset checks: the catalogue of ``embedding_assets.health.checks`` as Dagster's specs, its verdicts as results."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    asset_check,
    multi_asset_check,
)

from embedding_assets.config import Settings
from embedding_assets.defs.assets import chunk_embeddings, pgvector_index_health
from embedding_assets.defs.effort import total_written, written_by
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.errors import PgvectorError
from embedding_assets.health.checks import CHECKS, COSTS_WITHIN_BUDGET, VECTORS_MATCH_MODEL, Check
from embedding_assets.health.judge import judge_costs, judge_embeddings, judge_index, judge_models
from embedding_assets.health.verdict import Verdict
from embedding_assets.logs import correlate
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.spaces import SpaceColumn

_ALONE = (VECTORS_MATCH_MODEL, COSTS_WITHIN_BUDGET)
_BY_NAME = {check.name: check for check in CHECKS}


def _specs(asset: object, subject: str) -> list[AssetCheckSpec]:
    """Of the checks that are judged together."""
    together = [check for check in CHECKS if check.subject == subject and check not in _ALONE]
    return [
        AssetCheckSpec(check.name, asset=asset, description=check.description, blocking=check.blocking)  # type: ignore[arg-type]
        for check in together
    ]


# can_subset: otherwise the UI could only run a check with the asset, which repairs first what the check looks for.
@multi_asset_check(specs=_specs(chunk_embeddings, "chunk_embeddings"), can_subset=True)
def embedding_checks(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> Iterator[AssetCheckResult]:
    """Verdicts on the stored vectors and the backlog."""
    judge = partial(judge_embeddings, written=total_written(context))
    yield from _results(context, _judged(context, postgres, embedding_provider, judge))


@asset_check(asset=chunk_embeddings, blocking=VECTORS_MATCH_MODEL.blocking, description=VECTORS_MATCH_MODEL.description)
def vectors_match_model(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> AssetCheckResult:
    """Verdict on whose vectors the columns hold."""
    with correlate(context.run.run_id), postgres.open() as database:
        return as_result(judge_models(database, embedding_provider.settings(), written=written_by(context)))


@asset_check(asset=chunk_embeddings, blocking=COSTS_WITHIN_BUDGET.blocking, description=COSTS_WITHIN_BUDGET.description)
def costs_within_budget(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> AssetCheckResult:
    """Verdict on the dollars of this run, of today and of this month."""
    with correlate(context.run.run_id), postgres.open() as database:
        return as_result(judge_costs(database, embedding_provider.settings(), run_id=context.run.run_id))


@multi_asset_check(specs=_specs(pgvector_index_health, "pgvector_index_health"), can_subset=True)
def index_checks(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> Iterator[AssetCheckResult]:
    """Verdicts on the vector indexes."""
    try:
        judge = partial(judge_index, written=total_written(context))
        verdicts = _judged(context, postgres, embedding_provider, judge)
    except PgvectorError as error:
        # The database is not even opened then, and nothing is known of its indexes.
        verdicts = [Verdict(check.name, check.severity, False, str(error)) for check in _selected(context)]
    yield from _results(context, verdicts)


def _judged(
    context: AssetCheckExecutionContext,
    postgres: PostgresResource,
    embedding_provider: EmbeddingProviderResource,
    judge: Callable[[Database, SpaceColumn, Settings], list[Verdict]],
) -> list[Verdict]:
    with correlate(context.run.run_id), postgres.open() as database:
        if has_chunks(database):
            selection = embedding_provider.select(database)
            return judge(database, selection.column, embedding_provider.settings())
    # An empty table is in order, and judging it must not need a model.
    return [check.verdict(True, "knowledge_base is empty") for check in _selected(context)]


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
        metadata=verdict.numbers,
    )
