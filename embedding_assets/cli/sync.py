"""`sync`: tables and queries of the same database, their rows kept as documents in the chunk table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, looking_session, out, show, table_session
from embedding_assets.errors import ConfigurationError, EmbeddingAssetsError
from embedding_assets.formatting import counted, moment
from embedding_assets.identifiers import parts_of

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.documents.rejection import Rejection
    from embedding_assets.documents.syncing import SyncReport
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.source_records import SourceSummary
    from embedding_assets.postgres.sources import SourceDefinition

_MOST_REJECTIONS = 1_000


def sync(
    source: Annotated[
        str | None, typer.Argument(help="A table or view, as in SQL, or the name of a known source. Default: all.")
    ] = None,
    *,
    key: Annotated[str | None, typer.Option(help="Columns that identify a row. Default: the primary key.")] = None,
    text: Annotated[
        str | None, typer.Option(help=r"The column with the text, or a template: '{intro}\n{body}'.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Column with the title, which stands above each chunk.")] = None,
    metadata: Annotated[str | None, typer.Option(help="Columns that searches show and filter by.")] = None,
    where: Annotated[str | None, typer.Option(help="Only rows for which this SQL condition holds.")] = None,
    query: Annotated[
        str | None, typer.Option(help="Instead of a table, a SELECT with columns key, text, maybe title, and others.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the query.")] = None,
    markdown: Annotated[
        bool | None, typer.Option("--markdown/--no-markdown", help="Split texts at their Markdown headings.")
    ] = None,
    watch: Annotated[
        bool | None,
        typer.Option("--watch/--no-watch", help="Put triggers on the table that note changed rows, or take them off."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Compare all rows, even where triggers note changes.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the known sources.")] = False,
    forget: Annotated[str | None, typer.Option(help="Remove a source with its chunks.", metavar="SOURCE")] = None,
    release: Annotated[
        str | None,
        typer.Option(help="Let another asset of Dagster define a source, whose own are no more.", metavar="SOURCE"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep rows of a table as documents: split into chunks, and in step with every change of the table.

    The first time say what a row is made of; after that its name is enough, and without one all known sources are
    brought up to date. Only chunks that changed become pending. The exit status is 1 if a source could not be synced,
    or none of its rows is a document.
    """
    said = {
        "key": _names(key),
        "text": text,
        "title": title,
        "metadata": _names(metadata),
        "where": where,
        "markdown": markdown,
    }
    given = {option: value for option, value in said.items() if value is not None}
    wanted = _Wanted(source, query, name, given, watch)
    wanted.check()
    alone = [list_, forget is not None, release is not None]
    if any(alone) and (not wanted.is_all or full or alone.count(True) > 1):
        raise ConfigurationError("--list, --forget and --release go with --json alone")
    if list_:
        with looking_session() as (_, database, is_made):
            _list(database, as_json=as_json, is_made=is_made)
        return
    with table_session() as (settings, database):
        if forget is not None:
            _forget(database, forget, as_json=as_json)
        elif release is not None:
            _release(database, release, as_json=as_json)
        else:
            _sync_all(settings, database, _chosen(database, wanted), full=full, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line says about sources; ``given`` has what a row is made of."""

    source: str | None
    query: str | None
    name: str | None
    given: dict[str, Any]
    watch: bool | None

    def check(self) -> None:
        columns = sorted(set(self.given) - {"markdown"})
        if self.query is not None and self.name is None:
            raise ConfigurationError("--query needs a --name, by which its documents are known")
        if self.name is not None and (self.query is None or self.source is not None):
            raise ConfigurationError("--name is for --query alone; a table is called by its own name")
        if self.query is not None and columns:
            raise ConfigurationError(
                f"--{', --'.join(columns)}: a query says by the names of its columns what they are: key, text, title; "
                "any other is metadata"
            )
        if self.is_all and (self.given or self.watch is not None):
            raise ConfigurationError(
                "say which table these options are about, as in `embedding-assets sync shop.notes`"
            )

    @property
    def is_all(self) -> bool:
        return self.source is None and self.query is None


def _chosen(database: Database, wanted: _Wanted) -> list[str]:
    """Names of the sources to bring up to date; one that is new or was redefined is registered."""
    from embedding_assets.documents.syncing import add_source
    from embedding_assets.postgres.chunks import check_is_own
    from embedding_assets.postgres.source_records import list_sources

    check_is_own(database)
    with database.session() as connection:
        known = {one.definition.name: one.definition for one in list_sources(connection)}
        if wanted.is_all:
            if not known:
                raise ConfigurationError(
                    "no source is known yet; name one, as in `embedding-assets sync shop.notes --text body`"
                )
            return list(known)
        definition = _definition(connection, known, wanted)
    if wanted.watch is not None or known.get(definition.name) != definition:
        add_source(database, definition, watched=wanted.watch)
    return [definition.name]


def _definition(connection: Connection, known: dict[str, SourceDefinition], wanted: _Wanted) -> SourceDefinition:
    from embedding_assets.postgres.lookup import locate
    from embedding_assets.postgres.source_lookup import define_query, define_table
    from embedding_assets.postgres.table import quoted

    given, name = wanted.given, wanted.source or wanted.name or ""
    if wanted.query is not None:
        return define_query(connection, name, wanted.query, markdown=given.get("markdown", False))
    if name not in known:
        schema, table, _ = locate(connection, name)
        name = f"{quoted([schema])}.{quoted([table])}"
    before = known.get(name)
    if before is None:
        return define_table(connection, name, **given)
    if before.query is not None and set(given) - {"markdown"}:
        raise ConfigurationError(f"{name} is a query; say what is different with --query and --name {name}")
    if not given or before.query is not None:
        return replace(before, **given)
    kept = {option: getattr(before, option) for option in ("key", "text", "title", "metadata", "where", "markdown")}
    return define_table(connection, name, **{**kept, **given})


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(one for part in text.split(",") if (one := part.strip()))


def _sync_all(settings: Settings, database: Database, names: list[str], *, full: bool, as_json: bool) -> None:
    from embedding_assets.documents.loading import configured_splitter
    from embedding_assets.documents.syncing import sync_source

    splitter = configured_splitter(settings, database)
    reports: list[SyncReport] = []
    rejections: list[Rejection] = []
    errors: dict[str, str] = {}

    def reject(rejection: Rejection) -> None:
        if len(rejections) < _MOST_REJECTIONS:
            rejections.append(rejection)
        err.print(f"rejected: {rejection}", markup=False, highlight=False, soft_wrap=True)

    for name in names:
        try:
            with progress.counter(err, f"syncing {escape(name)},", "chunks", quiet=as_json) as advance:
                report = sync_source(database, name, splitter, full=full, on_progress=advance, on_reject=reject)
        except EmbeddingAssetsError as error:
            if len(names) == 1:
                raise
            # The other sources can be brought up to date all the same.
            errors[name] = str(error)
            err.print(f"error: {name}: {error}", markup=False, highlight=False, soft_wrap=True)
            continue
        reports.append(report)
        if report.remark:
            err.print(f"{name} was compared: {report.remark}", markup=False, highlight=False, soft_wrap=True)
    _show_reports(reports, rejections, errors, as_json=as_json)
    if errors or any(report.rejected and not _documents(database, report.source) for report in reports):
        raise typer.Exit(1)


def _documents(database: Database, name: str) -> int:
    from embedding_assets.postgres.source_records import summarize_sources

    return next(one.documents for one in summarize_sources(database) if one.name == name)


def _show_reports(
    reports: list[SyncReport], rejections: list[Rejection], errors: dict[str, str], *, as_json: bool
) -> None:
    document = {
        "sources": [asdict(report) for report in reports],
        "rejections": [asdict(rejection) for rejection in rejections],
        "errors": errors,
    }
    lines = [_line(report) for report in reports]
    if any(report.chunks_added for report in reports):
        lines.append("Next: [bold]embedding-assets embed[/bold]")
    show(document, "\n".join(lines), as_json=as_json)


def _line(report: SyncReport) -> str:
    looked = f"{counted(report.rows, 'noted row')}" if report.noted else f"{counted(report.rows, 'row')} compared"
    parts = [
        f"documents: {report.added:,} added, {report.changed:,} changed, {report.removed:,} removed",
        f"chunks: {report.chunks_added:,} added, {report.chunks_removed:,} removed",
    ]
    if report.rejected:
        parts.append(f"[yellow]{counted(report.rejected, 'row')} rejected[/yellow]")
    return f"{escape(report.source)}: {looked}; {'; '.join(parts)}."


def _list(database: Database, *, as_json: bool, is_made: bool) -> None:
    from embedding_assets.postgres.chunks import check_is_own
    from embedding_assets.postgres.source_records import summarize_sources

    check_is_own(database)
    found = summarize_sources(database) if is_made else []
    if as_json or found:
        show([{**asdict(one), "noticed": _noticed(one)} for one in found], _table(found), as_json=as_json)
    else:
        out.print("No source is known. Add one: [bold]embedding-assets sync TABLE --text COLUMN[/bold]")


def _release(database: Database, source: str, *, as_json: bool) -> None:
    from embedding_assets.documents.syncing import no_such_source
    from embedding_assets.postgres.source_records import release_source

    source = _name_of(database, source)
    if not database.run(lambda connection: release_source(connection, source)):
        raise no_such_source(source)
    show({"source": source}, f"The next asset of Dagster that syncs {escape(source)} defines it.", as_json=as_json)


def _name_of(database: Database, source: str) -> str:
    """The name of a known source: a table may be called as in SQL, with or without its schema, a query exactly."""
    from embedding_assets.postgres.chunks import check_is_own
    from embedding_assets.postgres.source_records import list_sources

    check_is_own(database)
    with database.session() as connection:
        known = [one.definition for one in list_sources(connection)]
    parts = parts_of(source)
    if not parts or source in (one.name for one in known):
        return source
    tables = [one.name for one in known if one.query is None and parts_of(one.name)[-len(parts) :] == parts]
    if len(tables) > 1:
        raise ConfigurationError(f"{source} is the name of several sources, {' and '.join(tables)}; say which")
    return tables[0] if tables else source


def _table(found: list[SourceSummary]) -> Table:
    table = Table("source", "documents", "chunks", "rejected", "last synced", "changes are noticed", box=None)
    are_owned = any(one.owners for one in found)
    if are_owned:
        table.add_column("owners")
    for one in found:
        synced = "never" if one.synced_at is None else moment(one.synced_at)
        numbers = (f"{one.documents:,}", f"{one.chunks:,}", f"{one.rejected:,}")
        owners = [escape(", ".join(one.owners))] if are_owned else []
        table.add_row(escape(one.name), *numbers, synced, _noticed(one), *owners)
    return table


def _noticed(one: SourceSummary) -> str:
    return "by triggers" if one.is_watched else "by comparing"


def _forget(database: Database, source: str, *, as_json: bool) -> None:
    from embedding_assets.documents.syncing import remove_source

    source = _name_of(database, source)
    documents, chunks = remove_source(database, source)
    line = f"{escape(source)} is forgotten: {counted(documents, 'document')} and {counted(chunks, 'chunk')} removed."
    show({"source": source, "documents": documents, "chunks": chunks}, line, as_json=as_json)
