"""The commands that show how things are: ``status``, ``health``, ``report``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from embedding_assets.cli import progress
from embedding_assets.cli.console import Json, err, looking_session, show
from embedding_assets.errors import ConfigurationError
from embedding_assets.formatting import duration

if TYPE_CHECKING:
    from embedding_assets.postgres.index.lifecycle import IndexReport

_JUST_NOW_SECONDS: Final = 60

overview_app = typer.Typer()


@overview_app.command()
def status(as_json: Json = False) -> None:
    """Show all at a glance: vector spaces, backlog, failures, runs, index with recall and latency, checks, costs."""
    from embedding_assets.reporting.gather import gather_overview
    from embedding_assets.reporting.status_page import status_page

    with looking_session() as (settings, database, _):
        overview = gather_overview(database, settings)
    show(asdict(overview), status_page(overview), as_json=as_json)


@overview_app.command()
def health(
    anew: Annotated[
        bool, typer.Option("--anew", help="Measure every index, also where that was done within a day.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build or repair every index, measure it against exact search, and run all checks.

    A measurement of the last day is used again while less than a hundredth of the vectors has changed; the output says
    how old it is. Every vector is read, and a sample of each space is embedded again.

    The exit status is 1 if a check failed that protects searches, such as vectors of another model; others only warn.
    """
    from embedding_assets.health.judge import judge_everything
    from embedding_assets.postgres.chunks import has_chunks
    from embedding_assets.postgres.index.lifecycle import build_indexes
    from embedding_assets.postgres.index.searching import build_for_searches
    from embedding_assets.providers.space_selection import select_for_run
    from embedding_assets.reporting.status_page import verdict_table

    with looking_session(maintaining=True) as (settings, database, is_made):
        if not (is_made and has_chunks(database)):
            raise ConfigurationError(database.table.emptiness)
        column = select_for_run(settings, database).column
        with progress.spinner(err, "building and measuring", quiet=as_json or not err.is_terminal):
            reports = build_indexes(database, column, settings.index, remeasure=anew)
            build_for_searches(database, settings.index, settings.search.language)
            verdicts = judge_everything(database, column, settings)
        if not as_json:
            for report in reports:
                show(None, _built_and_measured(report), as_json=False)
        show([asdict(verdict) for verdict in verdicts], verdict_table(verdicts), as_json=as_json)
    if any(verdict.is_error for verdict in verdicts):
        raise typer.Exit(1)


def _built_and_measured(report: IndexReport) -> str:
    """What was done to an index, and how old the measurement is that the verdicts are about."""
    measurement, seconds = report.measurement, report.build_seconds
    built = "" if seconds is None else f"built as {report.state.operator_class} in {duration(seconds)}, "
    age = (datetime.now(UTC) - measurement.measured_at).total_seconds()
    when = "just now" if age < _JUST_NOW_SECONDS else f"{duration(age)} ago (--anew measures again)"
    return f"Index of {escape(measurement.space)}: {built}measured {when}."


@overview_app.command()
def report(
    html: Annotated[Path, typer.Option("--html", help="File to write; - is standard output.", dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Write one page with figures of everything, to open in a browser or to send to somebody without the Dagster UI.

    It fetches nothing and holds no text of the documents, but the names of their sources.
    """
    from embedding_assets.reporting.figures.map import MAP_SIZE
    from embedding_assets.reporting.gather import gather_overview, gather_samples
    from embedding_assets.reporting.html import render_report

    drawing = progress.spinner(err, "drawing", quiet=as_json or not err.is_terminal)
    with looking_session() as (settings, database, _), drawing:
        overview = gather_overview(database, settings)
        page = render_report(overview, gather_samples(database, overview, MAP_SIZE))
    if str(html) == "-":
        sys.stdout.write(page)
        return
    try:
        html.write_text(page, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html: cannot write {html}: {error.strerror}") from None
    size = len(page.encode())
    view = f"Wrote {escape(str(html))} ({size / 1e3:,.0f} kB)."
    show({"html": str(html.resolve()), "bytes": size}, view, as_json=as_json)
