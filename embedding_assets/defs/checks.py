"""Asset checks: the verdicts of embedding_assets.health, shown in Dagster."""

from collections.abc import Callable, Iterable, Iterator

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
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.errors import PgvectorError
from embedding_assets.health.audit import audit_spaces
from embedding_assets.health.costs import judge_costs
from embedding_assets.health.embeddings import judge_models
from embedding_assets.health.judge import judge_embeddings, judge_vector_index
from embedding_assets.health.verdict import Verdict
from embedding_assets.logs import correlate
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.usage.ledger import count_spending
from embedding_assets.spaces import SpaceColumn


def _spec(asset: object, name: str, description: str, *, blocking: bool = False) -> AssetCheckSpec:
    return AssetCheckSpec(name, asset=asset, description=description, blocking=blocking)  # type: ignore[arg-type]


@multi_asset_check(
    specs=[
        _spec(
            chunk_embeddings,
            "finite_dimensions",
            "Every stored vector has the space's dimensions (768 by default), all finite, and unit length. Of a large "
            "table 100,000 rows are looked at, picked by chance each time. If not, something else wrote to the column: "
            "set those vectors to NULL and embed again.",
            blocking=True,
        ),
        _spec(
            chunk_embeddings,
            "unit_norm",
            "Vectors of a model that normalizes have length 1, and no vector has length 0. Every vector is looked at, "
            "or 20,000 picked by chance where that takes more than half a minute. If not: they are another model's, or "
            "were changed; set those to NULL and embed again.",
            blocking=True,
        ),
        _spec(
            chunk_embeddings,
            "throughput",
            "The latest run of some size was not slower than the floor. If it was: a GPU or a smaller model, higher "
            "rate limits of an API, or a lower EMBEDDING_THROUGHPUT_FLOOR.",
        ),
        _spec(
            chunk_embeddings,
            "coverage",
            "Enough of the table is embedded. If not: materialize the remaining partitions, or wait for the provider "
            "to come back if a fallback stands in.",
        ),
        _spec(
            chunk_embeddings,
            "backlog_age",
            "No chunk has been pending for longer than EMBEDDING_BACKLOG_AGE_HOURS. If some were: turn the sensor on "
            "new chunks on and see that the daemon runs, look at the last runs, or materialize chunk_embeddings by "
            "hand.",
        ),
        _spec(
            chunk_embeddings,
            "quarantine_empty",
            "No chunk was given up after repeated failures. If some were: `embedding-assets failures` lists them; mend "
            "their text, or try again with `--retry`.",
        ),
        _spec(
            chunk_embeddings,
            "hashes_reachable",
            "Every pending chunk lies in a partition. If not: give those chunks a chunk_hash of lowercase hex.",
        ),
    ],
    # Otherwise the UI could only run them with the asset, which mends first what they would tell of.
    can_subset=True,
)
def embedding_checks(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> Iterator[AssetCheckResult]:
    """Verdicts on the stored vectors and the backlog."""
    yield from _results(context, _judged(context, postgres, embedding_provider, judge_embeddings))


@asset_check(
    asset=chunk_embeddings,
    blocking=True,
    description="A sample of the vectors of every space, 64 or for an API 44, picked by chance each time and embedded "
    "again by the space's own model, agrees with what is stored. That notices a wrong tenth of a column with a "
    "probability of at least 97%, a wrong hundredth with 29 to 47%. If not, another model's vectors are in the "
    "column: set them to NULL and embed again, and see which EMBEDDING_MODEL_NAME an adopted table was claimed with. "
    "A model or API that cannot be had now is only named.",
)
def vectors_match_model(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> AssetCheckResult:
    """Verdict on whose vectors the columns hold; asks an API for 44 vectors."""
    with correlate(context.run.run_id), postgres.open() as database:
        return _result(judge_models(audit_spaces(database, embedding_provider.settings())))


@asset_check(
    asset=chunk_embeddings,
    description="What was spent stays below EMBEDDING_BUDGET_ALERT_SHARE of every dollar limit. At a limit embedding "
    "stops until that resets; raise EMBEDDING_BUDGET_USD_PER_RUN, _DAY or _MONTH to go on earlier.",
)
def costs_within_budget(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> AssetCheckResult:
    """Verdict on the dollars of this run, of today and of this month."""
    with correlate(context.run.run_id), postgres.open() as database:
        spending = count_spending(database, context.run.run_id)
        return _result(judge_costs(spending, embedding_provider.settings().budget))


@multi_asset_check(
    specs=[
        _spec(
            pgvector_index_health,
            "index_valid",
            "The index of every space with vectors exists, is valid and was built as configured. If not: materialize "
            "pgvector_index_health, which builds it.",
        ),
        _spec(
            pgvector_index_health,
            "recall",
            "The indexes find the true nearest neighbours: recall@10 is not below EMBEDDING_RECALL_FLOOR. Measured on "
            "20 to 100 stored vectors, as many as exact search answers in a minute. If not: raise "
            "EMBEDDING_INDEX_EF_SEARCH to where the curve in the metadata of pgvector_index_health is high enough, or "
            "EMBEDDING_INDEX_M and materialize pgvector_index_health.",
        ),
        _spec(
            pgvector_index_health,
            "recall_drop",
            "recall@10 has not fallen by more than EMBEDDING_INDEX_RECALL_DROP and chance since it was last accepted. "
            "If not: drop the index and materialize pgvector_index_health, raise EMBEDDING_INDEX_EF_SEARCH, or accept "
            "the lower recall as the new normal with `embedding-assets spaces accept-recall NAME`.",
        ),
        _spec(
            pgvector_index_health,
            "bloat",
            "The indexes are about as large as they would be if they were built now. If not: materialize "
            "pgvector_index_health, which builds them anew, or raise EMBEDDING_INDEX_BLOAT_CEILING.",
        ),
        _spec(
            pgvector_index_health,
            "planner_uses_index",
            "PostgreSQL answers searches by the index where the table is large enough to need one. If not: run ANALYZE "
            "knowledge_base, then look at enable_indexscan, random_page_cost and EMBEDDING_INDEX_EF_SEARCH.",
        ),
        _spec(
            pgvector_index_health,
            "pgvector_version",
            "pgvector is new enough: older ones could damage indexes. If not: install a newer one on the server, run "
            "ALTER EXTENSION vector UPDATE, then REINDEX INDEX CONCURRENTLY for each vector index.",
        ),
    ],
    can_subset=True,
)
def index_checks(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> Iterator[AssetCheckResult]:
    """Verdicts on the vector indexes."""
    try:
        verdicts = _judged(context, postgres, embedding_provider, judge_vector_index)
    except PgvectorError as error:
        # The database is not even opened then, and what its indexes are like is anybody's guess.
        verdicts = [
            Verdict(name, passed=False, blocking=name == "pgvector_version", description=str(error))
            for name in _selected(context)
        ]
    yield from _results(context, verdicts)


def _judged(
    context: AssetCheckExecutionContext,
    postgres: PostgresResource,
    embedding_provider: EmbeddingProviderResource,
    judge: Callable[[Database, SpaceColumn, Settings], list[Verdict]],
) -> list[Verdict]:
    with correlate(context.run.run_id), postgres.open() as database:
        if has_chunks(database):
            return judge(database, embedding_provider.select(database).column, embedding_provider.settings())
    # An empty table is in order, and judging it must not need a model.
    return [
        Verdict(name, passed=True, blocking=False, description="knowledge_base is empty") for name in _selected(context)
    ]


def _selected(context: AssetCheckExecutionContext) -> list[str]:
    return sorted(key.name for key in context.selected_asset_check_keys)


def _results(context: AssetCheckExecutionContext, verdicts: Iterable[Verdict]) -> Iterator[AssetCheckResult]:
    """Of those checks that this run is to execute."""
    selected = _selected(context)
    for verdict in verdicts:
        if verdict.name in selected:
            yield _result(verdict)


def _result(verdict: Verdict) -> AssetCheckResult:
    return AssetCheckResult(
        check_name=verdict.name,
        passed=verdict.passed,
        severity=AssetCheckSeverity.ERROR if verdict.blocking else AssetCheckSeverity.WARN,
        description=verdict.description,
        metadata=verdict.numbers,
    )
