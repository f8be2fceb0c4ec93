"""The command ``embedding-assets``."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from embedding_assets import terminal
from embedding_assets.config import Settings, get_settings
from embedding_assets.errors import ConfigurationError, EmbeddingAssetsError
from embedding_assets.logs import configure_logging, correlate
from embedding_assets.planning import PrefixRange

__all__ = ["app", "main"]

app = typer.Typer(
    help="Keep a PostgreSQL/pgvector table embedded: chunks of text go in, correct vectors and a healthy index come "
    "out.\n\nWithout EMBEDDING_DATABASE_URL everything runs on an embedded PostgreSQL. Try [bold]demo[/bold] first.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@app.command()
def demo(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Your own documents. Default: Python's documentation.")
    ] = None,
) -> None:
    """Show the whole job: load real text, embed it through Dagster, check it, ask it three questions."""
    from embedding_assets.demo import run_demo

    with _session() as settings:
        run_demo(settings, paths or [], out)


@app.command()
def migrate(as_json: Json = False) -> None:
    """Create the tables, or adopt a [bold]knowledge_base[/bold] that is there. Everything else does this by itself."""
    from embedding_assets.postgres.connection import Database, resolve_url
    from embedding_assets.postgres.schema import HEAD
    from embedding_assets.postgres.schema import migrate as bring_up_to_date

    with _session() as settings, Database(resolve_url(settings), settings.database) as database:
        changed = bring_up_to_date(database)
        if as_json:
            _print_json({"changed": changed, "version": HEAD})
        else:
            state = "is now" if changed else "was already"
            out.print(f"The schema {state} at version {HEAD} ({escape(database.address)}).", soft_wrap=True)


@app.command()
def load(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders: Markdown, text, JSONL, CSV, TSV, Parquet.")],
    text_column: Annotated[str | None, typer.Option(help="Field with the text in JSONL, CSV and Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Load documents as chunks. Loading a file again adds nothing; a changed file replaces only what changed.

    What cannot be loaded is named and the rest goes on; the exit status is 1 only when nothing at all could be loaded.
    """
    from embedding_assets.documents import Rejection, read_documents
    from embedding_assets.loading import configured_splitter, load_documents
    from embedding_assets.postgres.connection import open_database

    rejections: list[Rejection] = []

    def reject(rejection: Rejection) -> None:
        rejections.append(rejection)
        err.print(f"rejected: {rejection}", markup=False, highlight=False, soft_wrap=True)

    with _session() as settings, open_database(settings) as database:
        documents = read_documents(paths, text_column=text_column, on_reject=reject)
        splitter = configured_splitter(settings, database)
        with terminal.counter(err, "loading", "chunks", quiet=as_json) as advance:
            report = load_documents(database, documents, splitter, on_progress=advance)
        report.rejected = len(rejections)
        if as_json:
            _print_json({**asdict(report), "rejections": [asdict(rejection) for rejection in rejections]})
        else:
            out.print(terminal.load_line(report), highlight=False, soft_wrap=True)
            if report.added:
                out.print("Next: [bold]embedding-assets embed[/bold]")
    if rejections and not report.documents:
        raise typer.Exit(1)


@app.command()
def status(as_json: Json = False) -> None:
    """What is in the table: chunks, vector spaces, backlog, failures, index, the latest run."""
    from embedding_assets.postgres.connection import open_database
    from embedding_assets.status import inspect_table

    with _session() as settings, open_database(settings) as database:
        table = inspect_table(database)
        if as_json:
            _print_json(
                {
                    "database": database.address,
                    "chunks": table.chunks,
                    "spaces": [space.as_dict() for space in table.spaces],
                }
            )
        else:
            out.print(terminal.status_view(table, database.address))


@app.command()
def estimate(as_json: Json = False) -> None:
    """What embedding the backlog will take, before anything is spent: chunks, tokens, minutes, dollars."""
    from embedding_assets.backlog import estimate_backlog, measure_tokens_per_second
    from embedding_assets.postgres.connection import open_database
    from embedding_assets.providers.factory import open_space, provider_for

    with _session() as settings, open_database(settings) as database:
        record = open_space(settings, database)
        backlog, plan = estimate_backlog(database, record)
        if plan.seconds is None and backlog.due:
            with terminal.spinner(err, "no run to judge by yet: timing the model on a few chunks", quiet=as_json):
                rate = measure_tokens_per_second(database, record, provider_for(settings, record, database))
            backlog, plan = estimate_backlog(database, record, tokens_per_second=rate)
        if as_json:
            _print_json({"space": record.space.name, "pending": backlog.pending, **asdict(plan)})
        else:
            out.print(terminal.estimate_line(record.space.name, plan), highlight=False, soft_wrap=True)


@app.command()
def embed(
    prefixes: Annotated[str, typer.Option(help="Range of chunk_hash prefixes, e.g. 0-7 or 3c.")] = "0-f",
    batch_size: Annotated[int | None, typer.Option(help="Most texts in a forward pass, 1 to 512.")] = None,
    index: Annotated[bool, typer.Option(help="Look after the index before and after.")] = True,
    as_json: Json = False,
) -> None:
    """Embed what is pending. Stop it whenever you like: the next run goes on from the table."""
    from embedding_assets.backlog import prepare_index
    from embedding_assets.generator import EmbeddingGenerator
    from embedding_assets.postgres.chunks import count_backlog, due_in_range
    from embedding_assets.postgres.connection import open_database
    from embedding_assets.postgres.index import build_vector_index
    from embedding_assets.providers.factory import open_space

    wanted = _prefix_range(prefixes)
    with _session() as settings, open_database(settings) as database:
        record = open_space(settings, database)
        backlog = count_backlog(database, record)
        if index:
            prepare_index(database, record, backlog)
        total = due_in_range(database, record, wanted.buckets)
        try:
            with terminal.bar(err, "embedding", total, quiet=as_json or not total) as advance:
                stats = EmbeddingGenerator(
                    settings, prefixes=wanted, database=database, on_progress=advance
                ).generate_embeddings_batch(batch_size)
        except KeyboardInterrupt:
            left = due_in_range(database, record, wanted.buckets)
            err.print(f"Stopped: {total - left:,} chunks are committed, {left:,} are left. Run it again to go on.")
            raise typer.Exit(130) from None
        # Also after a run without work: one that was killed may have left the table without its index. Not while
        # another run is loading, for which the index may have been left out, and which builds it when it is done.
        due = index and backlog.chunks and not stats.busy_prefixes
        built = build_vector_index(database, record, settings.index) if due else None
        if as_json:
            _print_json({**stats.model_dump(), "chunks_per_second": stats.chunks_per_second, "index_seconds": built})
        else:
            out.print(terminal.run_view(stats, built))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="A question in plain words.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many answers.")] = 5,
    where: Annotated[list[str] | None, typer.Option(help="Only chunks with this metadata, as key=value.")] = None,
    as_json: Json = False,
) -> None:
    """Find the chunks nearest to a question."""
    from embedding_assets.search import search as find

    with _session() as settings:
        results = find(query, k=k, where=_conditions(where or []), settings=settings)
        if as_json:
            _print_json([asdict(result) for result in results])
        else:
            out.print(terminal.results_view(results) if results else "Nothing matches.")


@app.command()
def failures(
    retry: Annotated[bool, typer.Option("--retry", help="Make every failed chunk due again.")] = False,
    as_json: Json = False,
) -> None:
    """List chunks that could not be embedded, by hash and error code; or try them again."""
    from embedding_assets.postgres.connection import open_database
    from embedding_assets.postgres.failures import list_failures, retry_failures

    with _session() as settings, open_database(settings) as database:
        if retry:
            count = retry_failures(database)
            if as_json:
                _print_json({"retried": count})
            else:
                out.print(f"{count:,} chunks are due again. Next: [bold]embedding-assets embed[/bold]")
            return
        found = list_failures(database)
        if as_json:
            _print_json([asdict(failure) for failure in found])
        else:
            out.print(terminal.failures_view(found) if found else "No chunk has failed.")


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on; the UI has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Open the Dagster UI on the same state, with the sensor and the schedule running."""
    from embedding_assets.instance import dagster_environment, ui_command

    with _session() as settings:
        err.print(f"Dagster UI on http://{host}:{port} (stop it with Ctrl-C)")
        # Replaces this process: signals then reach Dagster itself, which stops its children.
        command = ui_command(host, port)
        os.execve(command[0], command, dagster_environment(settings))  # noqa: S606


def main() -> None:
    """Run the command; errors of this package are one message and an exit status, not a traceback."""
    try:
        app(standalone_mode=True)
    except EmbeddingAssetsError as error:
        logging.getLogger(__name__).debug("failed", exc_info=True)
        err.print("[bold red]error:[/bold red] ", end="")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


@contextmanager
def _session() -> Iterator[Settings]:
    settings = get_settings()
    logs = settings.logging
    if err.is_terminal and "format" not in logs.model_fields_set:
        # Among progress bars and messages, a person reads these lines.
        logs = logs.model_copy(update={"format": "text"})
    configure_logging(logs)
    with correlate():
        try:
            yield settings
        except KeyboardInterrupt:
            err.print("Stopped.")
            raise typer.Exit(130) from None


def _prefix_range(text: str) -> PrefixRange:
    try:
        return PrefixRange.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"--prefixes: {error}") from None


def _conditions(where: list[str]) -> dict[str, str]:
    pairs = [condition.partition("=") for condition in where]
    for key, separator, _ in pairs:
        if not separator or not key:
            raise ConfigurationError("--where takes key=value, e.g. --where kind=stdlib")
    return {key: value for key, _, value in pairs}


def _print_json(value: Any) -> None:
    text = json.dumps(value, default=datetime.isoformat)
    if out.is_terminal:
        out.print_json(text)
    else:
        sys.stdout.write(f"{text}\n")
