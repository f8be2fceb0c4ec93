"""Asset checks: the verdicts of embedding_assets.health, shown in Dagster."""

from collections.abc import Callable, Iterable, Iterator

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, multi_asset_check

from embedding_assets.config import Settings
from embedding_assets.defs.assets import chunk_embeddings, pgvector_index_health
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.health import Verdict
from embedding_assets.logs import correlate
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import SpaceRecord
from embedding_assets.status import judge_embeddings, judge_vector_index

__all__ = ["embedding_checks", "index_checks"]


def _spec(asset: object, name: str, description: str, *, blocking: bool = False) -> AssetCheckSpec:
    return AssetCheckSpec(name, asset=asset, description=description, blocking=blocking)  # type: ignore[arg-type]


@multi_asset_check(
    specs=[
        _spec(
            chunk_embeddings,
            "finite_dimensions",
            "Every stored vector has the space's dimensions (768 by default), all finite, and unit length.",
            blocking=True,
        ),
        _spec(chunk_embeddings, "throughput", "The latest run of some size was not slower than the floor."),
        _spec(chunk_embeddings, "coverage", "Enough of the table is embedded."),
        _spec(chunk_embeddings, "quarantine_empty", "No chunk was given up after repeated failures."),
        _spec(chunk_embeddings, "hashes_reachable", "Every pending chunk lies in a partition."),
    ]
)
def embedding_checks(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> Iterator[AssetCheckResult]:
    """Verdicts on the stored vectors and the backlog."""
    yield from _results(_judged(context, postgres, embedding_provider, judge_embeddings))


@multi_asset_check(
    specs=[
        _spec(pgvector_index_health, "index_valid", "The index exists, is valid and was built as configured."),
        _spec(pgvector_index_health, "recall", "The index finds the true nearest neighbours."),
    ]
)
def index_checks(
    context: AssetCheckExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> Iterator[AssetCheckResult]:
    """Verdicts on the vector index."""
    yield from _results(_judged(context, postgres, embedding_provider, judge_vector_index))


def _judged(
    context: AssetCheckExecutionContext,
    postgres: PostgresResource,
    embedding_provider: EmbeddingProviderResource,
    judge: Callable[[Database, SpaceRecord, Settings], list[Verdict]],
) -> list[Verdict]:
    with correlate(context.run.run_id), postgres.open() as database:
        if has_chunks(database):
            return judge(database, embedding_provider.open_space(database), embedding_provider.settings())
    # An empty table is in order, and judging it must not need a model.
    names = sorted(key.name for key in context.selected_asset_check_keys)
    return [Verdict(name, passed=True, blocking=False, description="knowledge_base is empty") for name in names]


def _results(verdicts: Iterable[Verdict]) -> Iterator[AssetCheckResult]:
    for verdict in verdicts:
        yield AssetCheckResult(
            check_name=verdict.name,
            passed=verdict.passed,
            severity=AssetCheckSeverity.ERROR if verdict.blocking else AssetCheckSeverity.WARN,
            description=verdict.description,
            metadata=verdict.numbers,
        )
