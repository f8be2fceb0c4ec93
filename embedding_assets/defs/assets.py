"""The three assets: what is pending, the vectors, the health of the index."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from dagster import AssetExecutionContext, BackfillPolicy, MaterializeResult, MetadataValue, asset

from embedding_assets.backlog import estimate_backlog, prepare_index
from embedding_assets.defs.metadata import prefix_table, run_metadata, vector_index_metadata
from embedding_assets.defs.partitions import prefix_partitions
from embedding_assets.defs.progress import ProgressLog
from embedding_assets.defs.resources import EmbeddingProviderResource, PostgresResource
from embedding_assets.generator import EmbeddingGenerator
from embedding_assets.logs import correlate
from embedding_assets.models import PrefixStats
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.chunks import count_pending_by_prefix, due_in_range, has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index import build_vector_index, describe_index, measure_recall
from embedding_assets.postgres.locks import hold

__all__ = ["chunk_embeddings", "chunks_pending", "pgvector_index_health"]


@asset(
    group_name="embedding",
    kinds={"postgres"},
    # Every asset in one run of many partitions needs this policy, the unpartitioned ones too.
    backfill_policy=BackfillPolicy.single_run(),
)
def chunks_pending(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """Chunks without a vector: how many, what embedding them takes, and whether the index waits for the load."""
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        record = embedding_provider.open_space(database)
        backlog, estimate = estimate_backlog(database, record)
        plan = prepare_index(database, record, backlog)
        by_prefix = count_pending_by_prefix(database, record, embedding_provider.settings().embedding.prefix_length)
    context.log.info("%d chunks are due in space %s", backlog.due, record.space.name)
    return MaterializeResult(
        metadata={
            "space": record.space.name,
            "chunks": backlog.chunks,
            "embedded": backlog.embedded,
            "pending": backlog.pending,
            "waiting_for_retry": backlog.waiting,
            "quarantined": backlog.quarantined,
            "unreachable": backlog.unreachable,
            "tokens": estimate.tokens,
            # Unknown before the first run of some size.
            **({} if estimate.seconds is None else {"estimated_minutes": round(estimate.seconds / 60, 2)}),
            "estimated_usd": estimate.usd,
            "index_plan": f"{plan.decision}: {plan.reason}",
            "by_prefix": prefix_table({prefix: {"pending": count} for prefix, count in by_prefix.items()}),
        }
    )


@asset(
    group_name="embedding",
    kinds={"pytorch", "postgres"},
    deps=[chunks_pending],
    partitions_def=prefix_partitions,
    backfill_policy=BackfillPolicy.single_run(),
)
def chunk_embeddings(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """Vectors of the chunks whose hash begins with the partition's characters, written to ``knowledge_base``."""
    keys = context.partition_key_range
    prefixes = PrefixRange(keys.start, keys.end)
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        record = embedding_provider.open_space(database)
        due = due_in_range(database, record, prefixes.buckets)
        generator = EmbeddingGenerator(
            embedding_provider.settings(),
            prefixes=prefixes,
            database=database,
            on_progress=ProgressLog(context.log, total=due),
        )
        with _turn(database) if due else nullcontext():
            stats = generator.generate_embeddings_batch()
    # Beside the numbers of the whole run, which Dagster gives to each of its partitions.
    for prefix in context.partition_keys:
        counts = stats.prefixes.get(prefix, PrefixStats())
        own = {f"partition_{name}": count for name, count in counts.model_dump().items()}
        context.add_asset_metadata(metadata=own, partition_key=prefix)
    return MaterializeResult(metadata=run_metadata(stats))


@asset(
    group_name="embedding",
    kinds={"postgres"},
    deps=[chunk_embeddings],
    backfill_policy=BackfillPolicy.single_run(),
)
def pgvector_index_health(
    context: AssetExecutionContext, postgres: PostgresResource, embedding_provider: EmbeddingProviderResource
) -> MaterializeResult[Any]:
    """The HNSW index: built when it is missing, invalid or not as configured, then measured against exact search."""
    config = embedding_provider.settings().index
    with correlate(context.run.run_id), postgres.open() as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        record = embedding_provider.open_space(database)
        build_seconds = build_vector_index(database, record, config)
        state = describe_index(database, record.index)
        recall = measure_recall(database, record, config)
    if build_seconds is not None:
        context.log.info("built %s in %.1f s", record.index, build_seconds)
    return MaterializeResult(
        metadata={
            "space": MetadataValue.text(record.space.name),
            **vector_index_metadata(state, recall, build_seconds),
        }
    )


def _nothing_to_do(context: AssetExecutionContext) -> MaterializeResult[Any]:
    """An empty table needs no model, so that a fresh checkout runs before one was ever fetched."""
    context.log.info("knowledge_base is empty; load documents with `embedding-assets load PATH`")
    return MaterializeResult(metadata={"chunks": 0})


@contextmanager
def _turn(database: Database) -> Iterator[None]:
    """One run a machine at a time: two models on one device only slow each other down.

    Not a pool: its slot outlives a run that is killed, and without a daemon every later run would wait for ever.
    """
    with database.session() as connection, hold(connection, f"model on {platform.node()}"):
        yield
