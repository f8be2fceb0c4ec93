"""The commands that show how things are: ``status``, ``health``, ``report``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedding_assets.cli import progress, tables
from embedding_assets.cli.console import Json, err, out, print_json, session
from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from embedding_assets.reporting.overview import SpaceOverview


overview_app = typer.Typer()


@overview_app.command()
def status(as_json: Json = False) -> None:
    """All at a glance: vector spaces, backlog, failures, runs, index with recall and latency, checks, costs."""
    from embedding_assets.postgres.bootstrap import open_database
    from embedding_assets.reporting.gather import gather_overview
    from embedding_assets.reporting.page import status_page
    from embedding_assets.reporting.status import inspect_table

    with session() as settings, open_database(settings) as database:
        overview = gather_overview(database, settings)
        if not as_json:
            out.print(status_page(overview))
            return
        seen = {space.name: space for space in overview.spaces}
        table = inspect_table(database)
        print_json(
            {
                "database": overview.database,
                "chunks": table.chunks,
                "spaces": [
                    _with_overview(space.as_dict(), seen[space.column.space.name])
                    for space in table.spaces
                    if space.column.space.name in seen
                ],
                "costs": {
                    "usd_today": overview.costs.today_usd,
                    "usd_this_month": overview.costs.month_usd,
                    "limit_usd_per_day": overview.costs.limit_per_day_usd,
                    "limit_usd_per_month": overview.costs.limit_per_month_usd,
                    "alert_share": overview.costs.alert_share,
                },
                "settings": [asdict(setting) for setting in overview.settings],
            }
        )


def _with_overview(counted: dict[str, Any], space: SpaceOverview) -> dict[str, Any]:
    """What was counted of a space with what was measured of it and judged."""
    index = space.index
    measured = {
        "ef_search": index.ef_search,
        "measured_at": index.measured_at,
        "exact_p50_ms": index.exact_p50_ms,
        "curve": [
            {
                "ef_search": point.ef_search,
                "recall": point.recall,
                "recall_low": point.recall_low,
                "recall_high": point.recall_high,
                "p50_ms": point.p50_milliseconds,
                "p95_ms": point.p95_milliseconds,
            }
            for point in index.curve
        ],
    }
    return {
        **counted,
        "failures": dict(space.failures),
        "index": counted["index"] | measured,
        "checks": [asdict(verdict) for verdict in space.checks],
        "unchecked": list(space.unchecked),
    }


@overview_app.command()
def health(as_json: Json = False) -> None:
    """Build or mend every index, measure it against exact search, and run all checks.

    The same as materializing pgvector_index_health with the checks. The exit status is 1 if a check failed that
    protects searches, such as vectors of another model; other failed checks are warnings.
    """
    from embedding_assets.health.judge import judge_everything
    from embedding_assets.postgres.bootstrap import open_database
    from embedding_assets.postgres.chunks import has_chunks
    from embedding_assets.postgres.index.lifecycle import build_indexes
    from embedding_assets.providers.selection import select_for_run

    with session() as settings, open_database(settings) as database:
        if not has_chunks(database):
            raise ConfigurationError("knowledge_base is empty; load documents with `embedding-assets load PATH`")
        column = select_for_run(settings, database).column
        with progress.spinner(err, "building and measuring", quiet=as_json or not err.is_terminal):
            build_indexes(database, column, settings.index)
            verdicts = judge_everything(database, column, settings)
        if as_json:
            print_json([asdict(verdict) for verdict in verdicts])
        else:
            out.print(tables.verdicts_view(verdicts))
    if any(verdict.blocking and not verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


@overview_app.command()
def report(
    html: Annotated[Path, typer.Option("--html", help="File to write; - is standard output.", dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Write one page with figures of everything, to open in a browser or to send to somebody without the Dagster UI.

    It fetches nothing and holds no text of the documents, but the names of their sources.
    """
    from embedding_assets.postgres.bootstrap import open_database
    from embedding_assets.reporting.gather import MAP_SIZE, gather_overview
    from embedding_assets.reporting.html import render_report

    drawing = progress.spinner(err, "drawing", quiet=as_json or not err.is_terminal)
    with session() as settings, open_database(settings) as database, drawing:
        page = render_report(gather_overview(database, settings, map_size=MAP_SIZE))
    if str(html) == "-":
        sys.stdout.write(page)
        return
    try:
        html.write_text(page, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html: cannot write {html}: {error.strerror}") from None
    if as_json:
        print_json({"html": str(html.resolve()), "bytes": len(page.encode())})
    else:
        out.print(f"Wrote {html} ({len(page.encode()) / 1e3:,.0f} kB).", markup=False, highlight=False, soft_wrap=True)
