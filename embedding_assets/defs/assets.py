"""The three assets of a table: what is pending, the vectors, the health of the index."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Final

from dagster import (
    AssetExecutionContext,
    AssetMaterialization,
    AssetObservation,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    MetadataValue,
)

from embedding_assets.config import Settings
from embedding_assets.defs.automation import after_load
from embedding_assets.defs.code_version import code_version
from embedding_assets.defs.effort import total_written, written_by
from embedding_assets.defs.figures import backlog_pictures, index_pictures, run_pictures
from embedding_assets.defs.following import upstream_condition
from embedding_assets.defs.freshness import freshness_of
from embedding_assets.defs.metadata import (
    complete_metadata,
    indexes_metadata,
    partition_metadata,
    prefix_table,
    run_metadata,
    source_metadata,
    table_metadata,
    unadopted_metadata,
)
from embedding_assets.defs.table_spec import EMBEDDINGS, HEALTH, PENDING, TableSpec
from embedding_assets.distribution.engine import chosen_engine
from embedding_assets.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    EmbeddingAssetsError,
    TableNotAdoptedError,
)
from embedding_assets.formatting import dollars
from embedding_assets.health.columns import columns_unchanged, find_column_changes
from embedding_assets.health.costs import limits_exceeded_by
from embedding_assets.logs import correlate
from embedding_assets.models import PrefixStats
from embedding_assets.pipeline.estimate import estimate_backlog, estimate_unadopted
from embedding_assets.pipeline.pace import Pace
from embedding_assets.pipeline.run import embed_pending
from embedding_assets.planning import PrefixRange, shows_change
from embedding_assets.postgres.backlog import Backlog, count_backlog
from embedding_assets.postgres.chunks import has_chunks
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.lifecycle import build_indexes, plan_load
from embedding_assets.postgres.index.searching import build_for_searches
from embedding_assets.postgres.interruption import within
from embedding_assets.postgres.prefixes import count_pending_by_prefix
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.samples import sample_sources
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.table_columns import DescribedColumn, describe_columns
from embedding_assets.postgres.usage.ledger import count_spending, list_daily_costs
from embedding_assets.providers.space_selection import find_for_run, select_for_run
from embedding_assets.reporting.figures.map import MAP_SIZE
from embedding_assets.reporting.gather import count_prefixes
from embedding_assets.spaces import SpaceColumn

_LAST_LOOK_SECONDS: Final = 10.0
"""Of a run that is to end, at what it has left."""


def table_assets(spec: TableSpec) -> list[AssetsDefinition]:
    """``chunks_pending``, ``chunk_embeddings`` and ``pgvector_index_health`` of a table."""
    freshness = freshness_of(spec.schedule)

    @spec.asset(
        PENDING,
        kinds={"postgres"},
        deps=[spec.source] if spec.source else spec.upstream,
        code_version=code_version(spec, PENDING),
    )
    def chunks_pending(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """Chunks without a vector: how many, and what embedding them takes.

        Also whether the index waits for the load. It changes nothing, so it can be materialized alone to see what a
        run will cost; its numbers are those before the run.

        If it fails, the settings or the database are at fault, not a text: the error names the variable. If its log
        warns that a dollar limit will be passed, the run stops there; raise the limit or leave the rest to later runs.
        """
        return _count(context, spec)

    @spec.asset(
        EMBEDDINGS,
        kinds={*spec.computed_by, "postgres"},
        metadata=spec.location,
        deps=[spec.key(PENDING)],
        partitions_def=spec.partitions,
        automation_condition=upstream_condition(spec),
        freshness_policy=freshness,
        code_version=code_version(spec, EMBEDDINGS),
    )
    def chunk_embeddings(context: AssetExecutionContext) -> Iterator[Any]:
        """Vectors of the chunks, written to their table.

        A partition is the chunks whose hash begins with its characters, and a range of partitions is one run. A
        partition that was materialized had no chunk left to embed at that time; `coverage` names those that have now.

        If it fails, the model, the provider or the database is at fault, not a text, and the error says what to do.
        What was embedded until then is kept: materialize it again, it goes on from the table.
        """
        yield from _embed(context, spec)

    @spec.asset(
        HEALTH,
        kinds={"postgres"},
        deps=[spec.key(EMBEDDINGS)],
        automation_condition=after_load if spec.sensors else None,
        freshness_policy=freshness,
        code_version=code_version(spec, HEALTH),
    )
    def pgvector_index_health(context: AssetExecutionContext) -> MaterializeResult[Any]:
        """The HNSW index of every space that has vectors, built if need be and measured.

        It is built when it is missing, invalid, not as configured or bloated, and measured against exact search. The
        numbers are kept, so that a later drop is noticed.

        If it fails, an index could not be built and the error says why, e.g. too little disk or memory. Searches still
        work, slowly, without it; materialize it again.
        """
        return _maintain(context, spec)

    return [chunks_pending, chunk_embeddings, pgvector_index_health]


def source_assets(spec: TableSpec) -> list[AssetSpec]:
    """``knowledge_base``, where nothing else is known to be upstream of what is pending.

    Not a table of somebody's: an asset of theirs that fills it may have its name, and two definitions of one key are
    refused. By its key alone it is upstream either way.
    """
    if spec.source is None or not spec.is_own:
        return []
    return [
        AssetSpec(
            spec.source,
            description="The table whose rows are embedded, filled outside of Dagster.\n\n`chunks_pending` observes "
            "how many rows it has, and its columns.",
            group_name=spec.group_name,
            owners=list(spec.owners),
            tags=dict(spec.tags),
            kinds={"postgres", "table"},
            metadata=spec.location,
        )
    ]


def _count(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    try:
        return _count_backlog(context, spec)
    except TableNotAdoptedError as error:
        if not spec.adopt:
            raise
        context.log.info(str(error))
        with spec.before_adoption(context) as database:
            chunks, estimate = estimate_unadopted(database, spec.run_settings(context))
        return MaterializeResult(metadata=unadopted_metadata(str(error), chunks, estimate))


def _count_backlog(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        columns = describe_columns(database)
        _check_columns(database, columns)
        if not has_chunks(database):
            _observe(context, spec, database, columns, None)
            return MaterializeResult(metadata=_no_chunks(context, database))
        column = select_for_run(settings, database, look_only=True).column
        backlog, estimate = estimate_backlog(database, column, settings, roughly=written_by(context, spec) is not None)
        plan = plan_load(database, column, backlog)
        pictures, by_prefix = _by_prefix(database, column, settings, backlog, draw=written_by(context, spec) is None)
        spending = count_spending(database, context.run.run_id)
        _observe(context, spec, database, columns, backlog)
    context.log.info("%d chunks are due in space %s", backlog.due, column.space.name)
    for limit in limits_exceeded_by(estimate.usd or 0, spending, settings.budget):
        context.log.warning(
            "embedding them costs about %s, but %s: it will stop there", dollars(estimate.usd or 0), limit
        )
    return MaterializeResult(
        metadata={
            **pictures,
            "chunks": backlog.chunks,
            "embedded": backlog.embedded,
            "pending": backlog.pending,
            **_unless_zero(
                waiting_for_retry=backlog.waiting, quarantined=backlog.quarantined, unreachable=backlog.unreachable
            ),
            "tokens": estimate.tokens,
            # Unknown before the first run of some size, and without a price; a local model has none.
            **({} if estimate.seconds is None else {"minutes_needed": round(estimate.seconds / 60, 2)}),
            **({"estimated_usd": estimate.usd} if estimate.usd else {}),
            "index_plan": f"{plan.decision}: {plan.reason}",
            "space": column.space.name,
            **by_prefix,
        }
    )


def _observe(
    context: AssetExecutionContext,
    spec: TableSpec,
    database: Database,
    columns: Sequence[DescribedColumn],
    backlog: Backlog | None,
) -> None:
    """Note what was seen of the table on its own asset, where it has one."""
    if spec.source:
        context.log_event(AssetObservation(spec.source, metadata=source_metadata(database, columns, backlog)))


def _by_prefix(
    database: Database, column: SpaceColumn, settings: Settings, backlog: Backlog, *, draw: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pictures of all chunks, and a table of the pending ones; of a table far larger than its backlog that alone."""
    length = settings.embedding.prefix_length
    if backlog.estimated:
        waiting = count_pending_by_prefix(database, column, length)
        estimated = {"counts": "chunks and embedded are estimates; the nightly run counts them"}
        return estimated, _pending_table(waiting)
    prefixes = count_prefixes(database, column, length, backlog)
    # Where nothing is pending the picture is that of the run before, and where little is, nearly.
    drawn = bool(backlog.pending) if draw else shows_change(backlog.chunks, backlog.pending)
    pictures = backlog_pictures(prefixes, with_figure=draw) if drawn else {}
    return pictures, _pending_table({counts.prefix: counts.pending for counts in prefixes})


def _pending_table(pending: Mapping[str, int]) -> dict[str, Any]:
    """What a run would take up, by prefix; nothing where that is nothing."""
    rows = {prefix: {"pending": count} for prefix, count in pending.items() if count}
    return {"by_prefix": prefix_table(rows)} if rows else {}


def _unless_zero(**counts: int) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _check_columns(database: Database, columns: Sequence[DescribedColumn]) -> None:
    """Raise if an adopted table lacks a column: in words, before a statement fails for it."""
    if database.table.is_own:
        return
    changes = find_column_changes(database.table, columns, list_spaces(database))
    if changes.gone:
        raise ConfigurationError(columns_unchanged(database.table, changes).description)


def _embed(context: AssetExecutionContext, spec: TableSpec) -> Iterator[AssetMaterialization | MaterializeResult[Any]]:
    partitions = _partitions(context, spec)
    prefixes = PrefixRange(partitions[0], partitions[-1])
    with correlate(context.run.run_id), spec.open(context) as database:
        if not has_chunks(database):
            shown = {"dagster/row_count": 0, **table_metadata(database, describe_columns(database))}
            nothing = _no_chunks(context, database, shown)
            yield from _materialized(context, spec, dict.fromkeys(partitions, nothing), nothing)
            return
        settings = spec.run_settings(context)
        built_later = spec.key(HEALTH) in context.job_def.asset_layer.selected_asset_keys
        try:
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
        except BaseException as error:  # also what terminating a run raises
            if not isinstance(error, DatabaseUnavailableError):
                with suppress(EmbeddingAssetsError):  # what ended the run is the news
                    yield from _complete_partitions(context, spec, partitions, database, settings)
            raise
        column, stats = outcome.column, outcome.stats
        spending = count_spending(database, context.run.run_id)
        embedded = stats.embedded + (stats.fallback.embedded if stats.fallback else 0)
        backlog = count_backlog(database, column, written=None if written_by(context, spec) is None else embedded)
        left = () if backlog.estimated else count_prefixes(database, column, settings.embedding.prefix_length, backlog)
        runs, days = list_runs(database, column.space.name), list_daily_costs(database)
        table = table_metadata(database, describe_columns(database))
    drawn = embedded > 0 and shows_change(backlog.embedded, None if written_by(context, spec) is None else embedded)
    pictures = run_pictures(left, runs, days, settings) if drawn else {}
    rows = {} if backlog.estimated else {"dagster/row_count": backlog.embedded}
    of_run = {**pictures, **run_metadata(stats, column.space.provider, spending), **rows, **table}
    # Each partition's own numbers come first: those of the result would stand before them.
    by_prefix = {counts.prefix: counts for counts in left}
    own = {
        prefix: partition_metadata(prefix, stats.prefixes.get(prefix, PrefixStats()), by_prefix.get(prefix)) | of_run
        for prefix in partitions
    }
    yield from _materialized(context, spec, own, of_run)


def _materialized(
    context: AssetExecutionContext, spec: TableSpec, own: Mapping[str, dict[str, Any]], of_run: Mapping[str, Any]
) -> Iterator[AssetMaterialization | MaterializeResult[Any]]:
    """Each partition with its own metadata; in a run that names none the asset as a whole, too."""
    if _names_partitions(context):
        for prefix, metadata in own.items():
            context.add_asset_metadata(metadata=metadata, partition_key=prefix)
        yield MaterializeResult()
        return
    for prefix, metadata in own.items():
        yield AssetMaterialization(spec.key(EMBEDDINGS), partition=prefix, metadata=metadata)
    yield MaterializeResult(metadata=of_run)


def _partitions(context: AssetExecutionContext, spec: TableSpec) -> Sequence[str]:
    """Those of the run; all where it names none, as one that a project's own schedule asks for."""
    return context.partition_keys if _names_partitions(context) else spec.partitions.get_partition_keys()


def _names_partitions(context: AssetExecutionContext) -> bool:
    return bool(context.has_partition_key or context.has_partition_key_range)


def _complete_partitions(
    context: AssetExecutionContext,
    spec: TableSpec,
    partitions: Sequence[str],
    database: Database,
    settings: Settings,
) -> Iterator[AssetMaterialization]:
    """Materializations of those partitions in which a run that was cut off has left nothing to do."""

    def look() -> tuple[SpaceColumn, set[str]] | None:
        _, column = find_for_run(settings, database)
        if column is None:
            return None
        return column, {*count_pending_by_prefix(database, column, settings.embedding.prefix_length)}

    found = within(_LAST_LOOK_SECONDS, look)
    if found is None:
        return
    column, pending = found
    complete = [prefix for prefix in partitions if prefix not in pending]
    context.log.info("%d of %d partitions are complete", len(complete), len(partitions))
    for prefix in complete:
        metadata = complete_metadata(prefix, column.space.name)
        yield AssetMaterialization(spec.key(EMBEDDINGS), partition=prefix, metadata=metadata)


def _maintain(context: AssetExecutionContext, spec: TableSpec) -> MaterializeResult[Any]:
    settings = spec.run_settings(context)
    with correlate(context.run.run_id), spec.open(context) as database:
        if not has_chunks(database):
            return MaterializeResult(metadata=_no_chunks(context, database))
        column = select_for_run(settings, database).column
        # Alone it was asked for, but by the automation; after every small load it would take longer than the load.
        written = total_written(context, spec)
        reports = build_indexes(database, column, settings.index, remeasure=written is None, written=written)
        build_for_searches(database, settings.index, settings.search.language)
        is_built = any(report.build_seconds for report in reports)
        is_unchanged = not is_built and not shows_change(reports[0].measurement.vectors.count, written)
        if is_unchanged or count_backlog(database, column, written=written).estimated:
            # The pictures would read some thousand vectors to show what they showed before.
            return MaterializeResult(metadata=indexes_metadata(reports))
        runs, days = list_runs(database, column.space.name), list_daily_costs(database)
        vectors, sources = sample_sources(database, column, MAP_SIZE)
    pictures = index_pictures(reports[0].measurement, runs, days, settings, vectors=vectors, sources=sources)
    return MaterializeResult(metadata={**pictures, **indexes_metadata(reports)})


def _no_chunks(
    context: AssetExecutionContext, database: Database, shown: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What is shown of an empty table, which needs no model: a fresh checkout runs before one was ever fetched."""
    context.log.info(database.table.emptiness)
    return {"chunks": 0, "note": MetadataValue.md(database.table.emptiness), **(shown or {})}
