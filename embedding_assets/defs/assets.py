"""The three assets: what is pending, the vectors, the health of the index."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from dagster import AssetExecutionContext, AssetKey, BackfillPolicy, MaterializeResult, asset

from embedding_assets.config import IndexConfig
from embedding_assets.defs.automation import after_load
from embedding_assets.defs.figures import backlog_pictures, index_pictures, run_pictures
from embedding_assets.defs.freshness import nightly_at_least
from embedding_assets.defs.metadata import indexes_metadata, prefix_table, run_metadata
from embedding_assets.defs.partitions import prefix_partitions
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.errors import DatabaseError, ProviderError
from embedding_assets.formatting import dollars
from embedding_assets.health.costs import limits_passed_by
from embedding_assets.logs import correlate
from embedding_assets.models import PrefixStats
from embedding_assets.pipeline.estimate import estimate_backlog
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.pipeline.pace import Pace
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.backlog import count_backlog, due_in_range
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.lifecycle import build_indexes, build_missing, plan_load, prepare_index
from embedding_assets.postgres.locks import hold, is_loading
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.samples import sample_sources
from embedding_assets.postgres.usage.ledger import count_spending
from embedding_assets.reporting.gather import MAP_SIZE, count_prefixes, daily_costs
from embedding_assets.spaces import SpaceColumn


@asset(
    group_name="embedding",
    kinds={"postgres"},
    # Every asset in one run of many partitions needs this policy, the unpartitioned ones too.
    backfill_policy=BackfillPolicy.single_run(),
)
def chunks_pending(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """Chunks without a vector: how many, what embedding them takes, and whether the index waits for the load.

    It changes nothing, so it can be materialized alone to see what a run will cost.
    If it fails, the settings or the database are at fault, not a text: the error names the variable. If its log warns
    that a dollar limit will be passed, the run stops there; raise the limit or leave the rest to later runs.
    """
    settings = embedding_provider.settings()
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        column = embedding_provider.open_space(database)
        backlog, estimate = estimate_backlog(database, column, settings=settings)
        plan = plan_load(database, column, backlog)
        prefixes = count_prefixes(database, column, settings.embedding.prefix_length)
        spending = count_spending(database, context.run.run_id)
    context.log.info("%d chunks are due in space %s", backlog.due, column.space.name)
    for limit in limits_passed_by(estimate.usd or 0, spending, settings.budget):
        context.log.warning(
            "embedding them costs about %s, but %s: it will stop there", dollars(estimate.usd or 0), limit
        )
    return MaterializeResult(
        metadata={
            **backlog_pictures(prefixes),
            "space": column.space.name,
            "chunks": backlog.chunks,
            "embedded": backlog.embedded,
            "pending": backlog.pending,
            "waiting_for_retry": backlog.waiting,
            "quarantined": backlog.quarantined,
            "unreachable": backlog.unreachable,
            "tokens": estimate.tokens,
            # Unknown before the first run of some size, and without a price.
            **({} if estimate.seconds is None else {"estimated_minutes": round(estimate.seconds / 60, 2)}),
            **({} if estimate.usd is None else {"estimated_usd": estimate.usd}),
            "index_plan": f"{plan.decision}: {plan.reason}",
            "by_prefix": prefix_table(
                {
                    counts.prefix: {"embedded": counts.embedded, "pending": counts.pending}
                    for counts in prefixes
                    if counts.chunks
                }
            ),
        }
    )


@asset(
    group_name="embedding",
    kinds={"pytorch", "postgres"},
    deps=[chunks_pending],
    partitions_def=prefix_partitions,
    backfill_policy=BackfillPolicy.single_run(),
    freshness_policy=nightly_at_least,
)
def chunk_embeddings(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """Vectors of the chunks whose hash begins with the partition's characters, written to ``knowledge_base``.

    If it fails, the model, the provider or the database is at fault, not a text, and the error says what to do. What
    was embedded until then is kept: materialize it again, it goes on from the table.
    """
    keys = context.partition_key_range
    prefixes = PrefixRange(keys.start, keys.end)
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        column = embedding_provider.open_space(database)
        due = due_in_range(database, column, prefixes.buckets)
        settings = embedding_provider.settings()
        generator = EmbeddingGenerator(
            settings,
            prefixes=prefixes,
            database=database,
            on_progress=Pace(due, context.log.info),
            before_writing=partial(_make_way, context, database, column, due),
        )
        try:
            # An API serves several runs at once.
            with _turn(database) if due and column.space.provider == "local" else nullcontext():
                stats = generator.generate_embeddings_batch()
        except ProviderError:
            _index_what_is_there(context, database, column, settings.index)
            raise
        spending = count_spending(database, context.run.run_id)
        left = count_prefixes(database, column, settings.embedding.prefix_length)
        runs, days = list_runs(database, column.space.name), daily_costs(database)
    # Beside the numbers of the whole run, which Dagster gives to each of its partitions.
    for prefix in context.partition_keys:
        counts = stats.prefixes.get(prefix, PrefixStats())
        own = {f"partition_{name}": count for name, count in counts.model_dump().items()}
        context.add_asset_metadata(metadata=own, partition_key=prefix)
    pictures = run_pictures(left, runs, days, settings)
    return MaterializeResult(metadata={**pictures, **run_metadata(stats, column.space.provider, spending)})


@asset(
    group_name="embedding",
    kinds={"postgres"},
    deps=[chunk_embeddings],
    backfill_policy=BackfillPolicy.single_run(),
    automation_condition=after_load,
    freshness_policy=nightly_at_least,
)
def pgvector_index_health(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """The HNSW index of every space that has vectors: built when it is missing, invalid, not as configured or bloated,
    then measured against exact search. The numbers are kept, so that a later drop is noticed.

    If it fails, an index could not be built and the error says why, e.g. too little disk or memory. Searches still
    work, slowly, without it; materialize it again.
    """
    settings = embedding_provider.settings()
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        column = embedding_provider.open_space(database)
        # Alone it was asked for; after every small load it would take longer than the load.
        reports = build_indexes(database, column, settings.index, anew=not _also(context, "chunk_embeddings"))
        runs, days = list_runs(database, column.space.name), daily_costs(database)
        vectors, sources = sample_sources(database, column, MAP_SIZE)
    pictures = index_pictures(reports[0].measurement, runs, days, settings, vectors=vectors, sources=sources)
    return MaterializeResult(metadata={**pictures, **indexes_metadata(reports)})


def _nothing_to_do(context: AssetExecutionContext) -> MaterializeResult[Any]:
    """An empty table needs no model, so that a fresh checkout runs before one was ever fetched."""
    context.log.info("knowledge_base is empty; load documents with `embedding-assets load PATH`")
    return MaterializeResult(metadata={"chunks": 0})


def _make_way(context: AssetExecutionContext, database: Database, column: SpaceColumn, due: int) -> None:
    """Drop the index if it had better wait for the load, and this run builds it afterwards."""
    if _also(context, "pgvector_index_health"):
        prepare_index(database, column, count_backlog(database, column), loading=due)


def _also(context: AssetExecutionContext, asset: str) -> bool:
    """Whether this run materializes that asset too."""
    return AssetKey(asset) in context.job_def.asset_layer.selected_asset_keys


def _index_what_is_there(
    context: AssetExecutionContext, database: Database, column: SpaceColumn, config: IndexConfig
) -> None:
    """Nothing else will in a run that has failed, and it may be a day until a limit resets or an outage is over."""
    if is_loading(database, column.space.name):
        return
    try:
        build_missing(database, column, config)
    except DatabaseError as error:
        # What made the run fail is the news.
        context.log.warning("no index until the next run: %s", error)


@contextmanager
def _turn(database: Database) -> Iterator[None]:
    """One run a machine at a time: two models on one device only slow each other down.

    Not a pool: its slot outlives a run that is killed, and without a daemon every later run would wait for ever.
    """
    with database.session() as connection, hold(connection, f"model on {platform.node()}"):
        yield
