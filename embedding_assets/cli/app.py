"""The command ``embedding-assets``."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from embedding_assets.cli import progress, tables
from embedding_assets.cli.adopt import adopt
from embedding_assets.cli.console import (
    Json,
    StoppableGroup,
    err,
    looking_session,
    out,
    print_json,
    session,
    show,
    table_session,
)
from embedding_assets.cli.documents import documents, forget, load
from embedding_assets.cli.drift import drift
from embedding_assets.cli.duplicates import duplicates
from embedding_assets.cli.evaluate import evaluate
from embedding_assets.cli.formats import formats
from embedding_assets.cli.importing import import_app
from embedding_assets.cli.models import models_app
from embedding_assets.cli.ray import CpusPerWorker, GpusPerWorker, RayAddress, RayCommand, Workers, with_ray
from embedding_assets.cli.search import search
from embedding_assets.cli.serve import serve
from embedding_assets.cli.spaces import spaces_app
from embedding_assets.cli.status import overview_app
from embedding_assets.cli.stopping import exit_status
from embedding_assets.cli.sync import sync
from embedding_assets.cli.version import options
from embedding_assets.errors import ConfigurationError, EmbeddingAssetsError, ProviderError
from embedding_assets.planning import PrefixRange

if TYPE_CHECKING:
    from embedding_assets.postgres.usage.ledger import CostRow

app = typer.Typer(
    cls=StoppableGroup,
    help="Keep a PostgreSQL/pgvector table embedded: chunks of text go in, correct vectors and a healthy index come "
    "out.\n\nWithout EMBEDDING_DATABASE_URL everything runs on an embedded PostgreSQL. Try [bold]demo[/bold] first.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.callback()(options)
app.add_typer(overview_app)
app.add_typer(models_app)
app.add_typer(spaces_app, name="spaces")
app.add_typer(import_app, name="import")
app.command()(adopt)
app.command()(load)
app.command()(documents)
app.command()(forget)
app.command()(sync)
app.command()(search)
app.command()(evaluate)
app.command()(duplicates)
app.command()(drift)
app.command()(serve)
app.command()(formats)


@app.command()
def demo(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Your own documents. Default: Python's documentation.")
    ] = None,
    model: Annotated[
        Literal["small", "default"] | None,
        typer.Option(
            help="A small one that is quick, or the default one (400 MB). Default: the configured one or small."
        ),
    ] = None,
) -> None:
    """Show the whole job: load real text, embed it through Dagster, check it, ask it three questions."""
    from embedding_assets.cli.demo import run_demo

    with session() as settings:
        run_demo(settings, paths or [], out, model=model)


@app.command()
def migrate(as_json: Json = False) -> None:
    """Create the tables, or bring them up to date. Loading and embedding do this, too, except for an adopted table.

    What only looks, such as status, changes nothing, and asks for this where it is needed.
    """
    from embedding_assets.postgres.bootstrap import resolve_url
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.schema import HEAD
    from embedding_assets.postgres.schema import migrate as bring_up_to_date

    with session() as settings, Database(resolve_url(settings), settings.database, settings.source) as database:
        changed = bring_up_to_date(database, asked=True)
        state = "is now" if changed else "was already"
        view = f"The schema {state} at version {HEAD} ({escape(database.address)})."
        show({"changed": changed, "version": HEAD}, view, as_json=as_json)


@app.command()
def estimate(as_json: Json = False) -> None:
    """Estimate what the backlog will take, before anything is spent: chunks, tokens, minutes, dollars."""
    from embedding_assets.health.costs import limits_exceeded_by
    from embedding_assets.pipeline.estimate import (
        BacklogEstimate,
        estimate_backlog,
        estimate_new_space,
        measure_tokens_per_second,
    )
    from embedding_assets.postgres.usage.ledger import count_spending
    from embedding_assets.providers.space_selection import api_space, find_for_run, select_for_run, select_space

    with looking_session() as (settings, database, is_made):
        if not is_made:
            nothing = {"space": None, "pending": 0, **asdict(BacklogEstimate(0, 0, 0.0, 0.0))}
            empty: list[str] = []
            document = {**nothing, "limits_exceeded": empty, "limits_below_a_request": empty}
            show(document, f"{database.table.emptiness}.", as_json=as_json)
            return
        followed, column = find_for_run(settings, database)
        if column is None and followed.embedding.provider == "openai":
            # Not asked, which costs.
            name, plan = api_space(followed).name, estimate_new_space(database, followed)
            pending = plan.chunks
        else:
            selection = select_for_run(settings, database, look_only=True)
            name, column = selection.column.space.name, selection.column
            backlog, plan = estimate_backlog(database, column, settings)
            # An API would bill for it.
            if plan.seconds is None and backlog.due and column.space.provider == "local":
                chosen = select_space(selection.settings, column, database) if column.name else selection
                with progress.spinner(err, "no run to judge by yet: timing the model on a few chunks", quiet=as_json):
                    rate = measure_tokens_per_second(database, column, chosen.open_provider())
                backlog, plan = estimate_backlog(database, column, settings, tokens_per_second=rate)
            pending = backlog.pending
        spending = count_spending(database, run_id="")
        exceeded = limits_exceeded_by(plan.usd or 0.0, spending, settings.budget)
        tight = limits_exceeded_by(plan.request_usd or 0.0, spending, settings.budget)
        document = {
            "space": name,
            "pending": pending,
            **asdict(plan),
            "limits_exceeded": exceeded,
            "limits_below_a_request": tight,
        }
        show(document, tables.estimate_line(name, plan, exceeded, tight), as_json=as_json)


@app.command(cls=RayCommand)
def embed(  # noqa: PLR0917 (options, each with a name)
    prefixes: Annotated[str, typer.Option(help="Range of chunk_hash prefixes, e.g. 0-7 or 3c.")] = "0-f",
    batch_size: Annotated[int | None, typer.Option(help="Most texts in a forward pass, 1 to 512.")] = None,
    index: Annotated[bool, typer.Option(help="Drop the index before a first load; build it after.")] = True,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: embed what comes within seconds, until it is stopped.")
    ] = False,
    ray: RayAddress = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    as_json: Json = False,
) -> None:
    """Embed what is pending. Stop it whenever you like: the next run goes on from the table.

    With --watch it keeps the model loaded, looks for new rows every second, and waits for whatever is down.
    With --ray by workers on a cluster, each with a model of its own: --ray --workers 2 makes two on this machine.
    """
    from embedding_assets.cli.watching import watch as go_on
    from embedding_assets.distribution.engine import chosen_engine
    from embedding_assets.pipeline.run import embed_pending
    from embedding_assets.providers.space_selection import select_for_run

    wanted = _prefix_range(prefixes)
    on_ray = {"workers": workers, "gpus_per_worker": gpus_per_worker, "cpus_per_worker": cpus_per_worker}
    with table_session() as (configured, database):
        settings = with_ray(configured, ray, on_ray)
        try:
            if watch:
                if settings.ray.address is not None:
                    raise ConfigurationError(
                        "--watch embeds in this process; leave --ray and EMBEDDING_RAY_ADDRESS out"
                    )
                go_on(settings, database, wanted, batch_size=batch_size, index=index, as_json=as_json)
            # A new one takes seconds: its model is tried first.
            with progress.spinner(err, "finding the vector space", quiet=as_json or not err.is_terminal):
                selection = select_for_run(settings, database)
            outcome = embed_pending(
                settings,
                prefixes=wanted,
                database=database,
                selection=selection,
                batch_size=batch_size,
                defer_index=index,
                build_index="always" if index else "never",
                engine=chosen_engine(settings),
                progress=lambda due: progress.bar(err, "embedding", due, quiet=as_json or not due),
            )
        except KeyboardInterrupt as stop:
            err.print(f"{_stopped(stop)} Run it again to go on.", highlight=False)
            raise typer.Exit(exit_status(stop)) from None
        except ProviderError as stop:
            err.print(_stopped(stop), highlight=False)
            raise
    stats, built = outcome.stats, outcome.index_seconds
    document = {**stats.model_dump(), "chunks_per_second": stats.chunks_per_second, "index_seconds": built}
    show(document, tables.run_view(stats, built), as_json=as_json)


def _stopped(stop: BaseException) -> str:
    left = " ".join(getattr(stop, "__notes__", []))
    return f"Stopped: {left}" if left else "Stopped."


@app.command()
def costs(
    by: Annotated[Literal["day", "run", "space"], typer.Option(help="What to add up.")] = "day",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most rows.")] = 30,
    as_json: Json = False,
) -> None:
    """Show what APIs have billed, and how much of the limits in dollars is used."""
    from embedding_assets.postgres.usage.ledger import NOTHING_SPENT, add_up, count_spending, list_costs, total_costs

    with looking_session() as (settings, database, is_made):
        rows = list_costs(database, by=by, limit=limit) if is_made else []
        total = total_costs(database) if is_made else add_up([])
        spending = count_spending(database, run_id="") if is_made else NOTHING_SPENT
        if as_json:
            print_json(
                {
                    "by": by,
                    "rows": [_cost_numbers(row) for row in rows],
                    "total": _cost_numbers(total),
                    "usd_today": spending.day,
                    "usd_this_month": spending.month,
                    "limits": settings.budget.model_dump(),
                }
            )
            return
        if not rows:
            out.print("Nothing was ever billed: no request to an API is on record.")
        else:
            out.print(tables.costs_view(rows, total, by))
            out.print()
        if rows or settings.budget.is_limited:
            out.print(tables.budget_view(spending, settings.budget))


def _cost_numbers(row: CostRow) -> dict[str, object]:
    return {**asdict(row), "usd_per_1000_embeddings": row.usd_per_1000_embeddings}


@app.command()
def failures(
    retry: Annotated[bool, typer.Option("--retry", help="Make every failed chunk due again.")] = False,
    as_json: Json = False,
) -> None:
    """List chunks that could not be embedded, by hash and error code; or try them again."""
    from embedding_assets.postgres.failures import list_failures, retry_failures

    if retry:
        with table_session() as (_, database):
            count = retry_failures(database)
            line = f"{count:,} chunks are due again. Next: [bold]embedding-assets embed[/bold]"
            show({"retried": count}, line, as_json=as_json)
        return
    with looking_session() as (_, database, is_made):
        found = list_failures(database) if is_made else []
        view = tables.failures_view(found) if found else "No chunk has failed."
        show([asdict(failure) for failure in found], view, as_json=as_json)


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on; the UI has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Open the Dagster UI on the same state, with the sensor and the schedule running."""
    from embedding_assets.cli.dagster import dagster_environment, table_setting, ui_command

    with session() as settings:
        environment = dagster_environment(settings) | table_setting(settings)
        err.print(f"Dagster UI on http://{host}:{port} (stop it with Ctrl-C)")
        # Replaces this process: signals then reach Dagster itself, which stops its children.
        command = ui_command(host, port)
        os.execve(command[0], command, environment)  # noqa: S606


def main() -> None:
    """Run the command; errors of this package are one message and an exit status, not a traceback."""
    try:
        app(standalone_mode=True)
    except EmbeddingAssetsError as error:
        logging.getLogger(__name__).debug("failed", exc_info=True)
        err.print("[bold red]error:[/bold red] ", end="")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


def _prefix_range(text: str) -> PrefixRange:
    try:
        return PrefixRange.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"--prefixes: {error}") from None
