"""The commands ``embedding-assets import``: vectors that another tool has made, and that are paid for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, session, show, table_session
from embedding_assets.formatting import counted
from embedding_assets.reporting.status_page import pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.report import ImportReport

import_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Take over vectors that another tool has made. A sample is embedded again and compared first; no other text "
    "goes to an API.",
)

Check = Annotated[bool, typer.Option("--check", help="Compare only; change nothing.")]
Drop = Annotated[
    bool, typer.Option("--drop-differing", help="Leave single vectors that were found to differ to be embedded again.")
]
Sample = Annotated[int | None, typer.Option(min=1, max=10_000, help="Vectors to compare. Default: 64, with an API 16.")]
_REASONS = {
    "blank_text": "without a text",
    "no_key": "without a key",
    "no_vector": "without a vector",
    "not_finite": "with NaN or infinity",
    "not_unit_length": "not of unit length",
    "repeated_key": "with a key that came before",
    "too_large": "with a number that is too large",
    "unfit_text": "with a text or metadata that cannot be stored",
    "unmatched_key": "with a key that no row has",
    "wrong_dimensions": "of another length",
    "zero_vector": "of zeros",
}


@import_app.command()
def column(
    name: Annotated[
        str | None, typer.Argument(help="Of an adopted table, as in SQL: shop.articles.embedding.", metavar="COLUMN")
    ] = None,
    *,
    vectors: Annotated[str | None, typer.Option("--column", help="The column of vectors, without its table.")] = None,
    other: Annotated[str | None, typer.Option("--from", help="Another table that the column is in, as in SQL.")] = None,
    key: Annotated[
        str | None, typer.Option(help="That table's columns with the key, in the order of ours. Default: the same.")
    ] = None,
    check: Check = False,
    drop_differing: Drop = False,
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """Vectors in a column: of an adopted table, where they stay, or of another table with the keys of ours."""
    from embedding_assets.importing.column import choose_column, import_column
    from embedding_assets.postgres.bootstrap import open_database, resolve_url
    from embedding_assets.postgres.connection import Database

    with session() as environment:
        settings = environment
        if name is not None:
            with Database(resolve_url(settings), settings.database, settings.source) as database:
                relation, vectors = choose_column(database, name, vectors)
            settings = settings.with_group("source", relation=relation)
        with open_database(settings) as database:
            options = _options(check, drop_differing, sample, as_json)
            report = import_column(settings, database, vectors, options, other=other, key=_names(key))
    _show(report, as_json=as_json)


@import_app.command()
def parquet(
    paths: Annotated[list[Path], typer.Argument(help="Parquet files.", exists=True, dir_okay=False, metavar="FILE…")],
    *,
    vector: Annotated[str, typer.Option(help="Column with the vectors.")],
    key: Annotated[
        str | None, typer.Option(help="Columns with the key, in the order of the table's. Default: the same names.")
    ] = None,
    check: Check = False,
    drop_differing: Drop = False,
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """Vectors in Parquet files, with the keys of the table's rows."""
    from embedding_assets.importing.keyed import import_keyed, key_columns
    from embedding_assets.importing.parquet import parquet_source

    with table_session() as (settings, database):
        columns = key_columns(database.table, _names(key))
        source = parquet_source(paths, columns, vector)
        what = f"column {vector} of {counted(len(paths), 'file')}"
        options = _options(check, drop_differing, sample, as_json)
        report = import_keyed(settings, database, source, what, options)
    _show(report, as_json=as_json)


@import_app.command()
def langchain(
    collection: Annotated[str | None, typer.Option(help="Its name. Default: the only one.")] = None,
    schema: Annotated[str, typer.Option(help="Schema of LangChain's tables.")] = "public",
    *,
    check: Check = False,
    drop_differing: Drop = False,
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """A collection of LangChain (PGVector or PGVectorStore): texts, metadata and vectors, as documents."""
    from embedding_assets.importing.langchain import import_collection

    with table_session() as (settings, database):
        options = _options(check, drop_differing, sample, as_json)
        report = import_collection(settings, database, collection, options, schema=schema)
    _show(report, as_json=as_json)


@import_app.command()
def pgai(
    vectorizer: Annotated[
        str | None, typer.Argument(help="Its id, name or source table. Default: the only one.")
    ] = None,
    *,
    check: Check = False,
    drop_differing: Drop = False,
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """A vectorizer of pgai: its chunks and vectors, as documents of its source table, which sync then keeps in step."""
    from embedding_assets.importing.pgai import import_vectorizer

    with table_session() as (settings, database):
        options = _options(check, drop_differing, sample, as_json)
        report = import_vectorizer(settings, database, vectorizer, options)
    _show(report, as_json=as_json)


def _options(check: bool, drop_differing: bool, sample: int | None, as_json: bool) -> ImportOptions:
    from embedding_assets.importing.options import ImportOptions

    def shown(title: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        if total is None:
            return progress.counter(err, title, "vectors", quiet=as_json)
        return progress.bar(err, title, total, quiet=as_json or not total)

    def notice(line: str) -> None:
        err.print(line, highlight=False, markup=False, soft_wrap=True)

    return ImportOptions(check, drop_differing, sample, shown, notice)


def _names(text: str | None) -> tuple[str, ...]:
    from embedding_assets.config import TableConfig

    return TableConfig(key=text).key if text else ()


def _show(report: ImportReport, *, as_json: bool) -> None:
    show(report.as_json(), _view(report), as_json=as_json)


def _view(report: ImportReport) -> RenderableType:
    table = pairs()
    likeness = f", cosine at least {report.lowest_cosine:.4f}" if report.lowest_cosine is not None else ""
    table.add_row("compared", f"{counted(report.compared, 'vector')}{likeness}")
    if report.differing:
        table.add_row("differing", f"{', '.join(report.differing)} (to be embedded again)")
    table.add_row("read", counted(report.read, "vector"))
    for name, count in (
        ("there already", report.present),
        ("documents", report.documents),
        ("chunks added", report.added),
        ("chunks removed", report.removed),
        ("taken away", report.dropped),
        ("edited meanwhile", report.passed_over),
    ):
        if count:
            table.add_row(name, f"{count:,}")
    for reason, count in report.refused.items():
        keys = ", ".join(report.examples.get(reason, []))
        table.add_row("not taken", Text(f"{count:,} {_REASONS.get(reason, reason)}: {keys}", style="yellow"))
    done = "would be taken over" if report.checked_only else "taken over"
    count = report.usable - len(report.differing) if report.checked_only else report.written
    head = Text(f"{counted(count, 'vector')} of {report.what} {done}, space {report.space}.")
    remarks = [Text(remark, style="dim") for remark in report.remarks]
    steps = [Text(f"Next: {step}" if not number else f"      {step}") for number, step in enumerate(report.next_steps)]
    return Group(head, table, *remarks, *steps)
