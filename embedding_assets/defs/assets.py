"""The three assets of a table: what is pending, the vectors, the health of the index."""

from contextlib import nullcontext
from datetime import timedelta
from typing import Any, Final

from dagster import AssetExecutionContext, AssetsDefinition, FreshnessPolicy, MaterializeResult

from embedding_assets.config import Settings
from embedding_assets.defs.automation import after_load
from embedding_assets.defs.effort import total_written, written_by
from embedding_assets.defs.figures import backlog_pictures, index_pictures, run_pictures
from embedding_assets.defs.metadata import indexes_metadata, prefix_table, run_metadata
from embedding_assets.defs.table_spec import DOCUMENTS, EMBEDDINGS, HEALTH, PENDING, TableSpec
from embedding_assets.distribution.engine import chosen_engine
from embedding_assets.formatting import dollars
from embedding_assets.health.costs import limits_exceeded_by
from embedding_assets.logs import correlate
from embedding_assets.models import PrefixStats
from embedding_assets.pipeline.estimate import estimate_backlog
from embedding_assets.pipeline.pace import Pace
from embedding_assets.pipeline.run import embed_pending
from embedding_assets.planning import PrefixRange
from embedding_assets.postgres.backlog import Backlog, count_backlog
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.lifecycle import build_indexes, plan_load
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.prefixes import count_pending_by_prefix
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.samples import sample_sources
from embedding_assets.postgres.usage.ledger import count_spending, list_daily_costs
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets.reporting.figures.map import MAP_SIZE
from embedding_assets.reporting.gather import count_prefixes
from embedding_assets.spaces import SpaceColumn

_DAILY: Final = FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
"""The latest materialization of any partition counts. The nightly run comes every 24 hours; two more are its time."""


def table_assets(spec: TableSpec) -> list[AssetsDefinition]:
    """``chunks_pending``, ``chunk_embeddings`` and ``pgvector_index_health`` of a table."""
    freshness = None if spec.schedule is None else _DAILY

    @spec.asset(
        PENDING, kinds={"postgres"}, deps=[*spec.deps, *([spec.key(DOCUMENTS)] if spec.loads_documents else [])]
    )
    def chunks_pending(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """Chunks without a vector: how many, what embedding them takes, and whether the index waits for the load.

        It changes nothing, so it can be materialized alone to see what a run will cost.
        If it fails, the settings or the database are at fault, not a text: the error names the variable. If its log
        warns that a dollar limit will be passed, the run stops there; raise the limit or leave the rest to later runs.
        """
        return _count(context, spec)

    @spec.asset(
        EMBEDDINGS,
        kinds={"pytorch", "postgres"},
        deps=[spec.key(PENDING)],
        partitions_def=spec.partitions,
        freshness_policy=freshness,
    )
    def chunk_embeddings(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """Vectors of the chunks whose hash begins with the partition's characters, written to ``knowledge_base``.

        If it fails, the model, the provider or the database is at fault, not a text, and the error says what to do.
        What was embedded until then is kept: materialize it again, it goes on from the table.
        """
        return _embed(context, spec)

    @spec.asset(
        HEALTH,
        kinds={"postgres"},
        deps=[spec.key(EMBEDDINGS)],
        automation_condition=after_load if spec.sensors else None,
        freshness_policy=freshness,
    )
    def pgvector_index_health(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """The HNSW index of every space that has vectors: built when it is missing, invalid, not as configured or
        bloated, then measured against exact search. The numbers are kept, so that a later drop is noticed.

        If it fails, an index could not be built and the error says why, e.g. too little disk or memory. Searches still
        work, slowly, without it; materialize it again.
        """
        return _maintain(context, spec)

    return [chunks_pending, chunk_embeddings, pgvector_index_health]


def _count(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        column = select_for_run(settings, database).column
        backlog, estimate = estimate_backlog(database, column, settings, roughly=written_by(context, spec) is not None)
        plan = plan_load(database, column, backlog)
        shown = _shown_backlog(database, column, settings, backlog)
        spending = count_spending(database, context.run.run_id)
    context.log.info("%d chunks are due in space %s", backlog.due, column.space.name)
    for limit in limits_exceeded_by(estimate.usd or 0, spending, settings.budget):
        context.log.warning(
            "embedding them costs about %s, but %s: it will stop there", dollars(estimate.usd or 0), limit
        )
    return MaterializeResult(
        metadata={
            **shown,
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
        }
    )


def _shown_backlog(database: Database, column: SpaceColumn, settings: Settings, backlog: Backlog) -> dict[str, Any]:
    """By prefix, and drawn; of a table far larger than its backlog the pending chunks alone, which are few."""
    length = settings.embedding.prefix_length
    if backlog.estimated:
        pending = count_pending_by_prefix(database, column, length)
        return {
            "counts": "chunks and embedded are estimates; the nightly run counts them",
            "by_prefix": prefix_table({prefix: {"pending": count} for prefix, count in pending.items()}),
        }
    prefixes = count_prefixes(database, column, length, backlog)
    rows = {
        counts.prefix: {"embedded": counts.embedded, "pending": counts.pending} for counts in prefixes if counts.chunks
    }
    return {**backlog_pictures(prefixes), "by_prefix": prefix_table(rows)}


def _embed(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    keys = context.partition_key_range
    prefixes = PrefixRange(keys.start, keys.end)
    with correlate(context.run.run_id), spec.open(context) as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        settings = spec.run_settings(context)
        built_later = spec.key(HEALTH) in context.job_def.asset_layer.selected_asset_keys
        outcome = embed_pending(
            settings,
            prefixes=prefixes,
            database=database,
            defer_index=built_later,
            build_index="on_failure",
            wait_for_device=True,
            engine=chosen_engine(settings),
            progress=lambda due: nullcontext(Pace(due, context.log.info)),
        )
        column, stats = outcome.column, outcome.stats
        spending = count_spending(database, context.run.run_id)
        embedded = stats.embedded + (stats.fallback.embedded if stats.fallback else 0)
        backlog = count_backlog(database, column, written=None if written_by(context, spec) is None else embedded)
        left = () if backlog.estimated else count_prefixes(database, column, settings.embedding.prefix_length, backlog)
        runs, days = list_runs(database, column.space.name), list_daily_costs(database)
    # Beside the numbers of the whole run, which Dagster gives to each of its partitions.
    for prefix in context.partition_keys:
        counts = stats.prefixes.get(prefix, PrefixStats())
        own = {f"partition_{name}": count for name, count in counts.model_dump().items()}
        context.add_asset_metadata(metadata=own, partition_key=prefix)
    pictures = run_pictures(left, runs, days, settings)
    return MaterializeResult(metadata={**pictures, **run_metadata(stats, column.space.provider, spending)})


def _maintain(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        if not has_chunks(database):
            return _nothing_to_do(context)
        column = select_for_run(settings, database).column
        # Alone it was asked for, but by the automation; after every small load it would take longer than the load.
        written = total_written(context, spec)
        reports = build_indexes(database, column, settings.index, remeasure=written is None, written=written)
        build_for_searches(database, settings.index, settings.search.language)
        if count_backlog(database, column, written=written).estimated:
            # The pictures would read some thousand vectors to show what they showed last night.
            return MaterializeResult(metadata=indexes_metadata(reports))
        runs, days = list_runs(database, column.space.name), list_daily_costs(database)
        vectors, sources = sample_sources(database, column, MAP_SIZE)
    pictures = index_pictures(reports[0].measurement, runs, days, settings, vectors=vectors, sources=sources)
    return MaterializeResult(metadata={**pictures, **indexes_metadata(reports)})


def _nothing_to_do(context: AssetExecutionContext) -> MaterializeResult[Any]:
    """An empty table needs no model, so that a fresh checkout runs before one was ever fetched."""
    context.log.info("knowledge_base is empty; load documents with `embedding-assets load PATH`")
    return MaterializeResult(metadata={"chunks": 0})
