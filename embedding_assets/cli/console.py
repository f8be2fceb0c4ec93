"""Everything that commands share: consoles that obey no text, settings and logs, errors, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.highlighter import JSONHighlighter
from rich.segment import Segment
from typer.core import TyperGroup

from embedding_assets.cli.stopping import exit_status
from embedding_assets.config import Settings, get_settings
from embedding_assets.formatting import visible
from embedding_assets.logs import configure_logging, correlate

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database


class SafeConsole(Console):
    """A console on which no text, of a document or a file's name, moves the cursor or sets the title.

    What rich itself sends to the terminal comes in segments of its own, or behind this.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments that are written, with pictures of control characters in place of those."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else visible(segment.text, keep="\n\t")
            yield segment if text == segment.text else Segment(text, segment.style)


out = SafeConsole()
err = SafeConsole(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


class StoppableGroup(TyperGroup):
    """Commands that Ctrl-C and SIGTERM end with a word, whatever they are doing, their imports included."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            typer.Exit: it was stopped.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            err.print("Stopped.")
            raise typer.Exit(exit_status(stop)) from None


@contextmanager
def session() -> Iterator[Settings]:
    """The settings; logs go to standard error meanwhile."""
    settings = get_settings()
    logs = settings.logging
    if err.is_terminal and "format" not in logs.model_fields_set:
        # Among progress bars and messages, a person reads these lines.
        logs = logs.model_copy(update={"format": "text"})
    configure_logging(logs)
    with correlate():
        yield settings


@contextmanager
def table_session() -> Iterator[tuple[Settings, Database]]:
    """As ``session``, with the configured database."""
    from embedding_assets.postgres.bootstrap import open_database

    with session() as settings, open_database(settings) as database:
        yield settings, database


@contextmanager
def looking_session(*, maintaining: bool = False) -> Iterator[tuple[Settings, Database, bool]]:
    """As ``table_session``, for what only looks, and changes nothing; and whether there is a table yet.

    Args:
        maintaining: what is there is brought up to date, and nothing is made either.
    """
    from embedding_assets.postgres.bootstrap import look_at_database

    with session() as settings, look_at_database(settings, maintaining=maintaining) as database:
        yield settings, database, bool(database.table.oid)


def show(document: Any, view: RenderableType, *, as_json: bool) -> None:
    """Print the one for programs or the one for people."""
    if as_json:
        print_json(document)
    else:
        # A sentence is left to the terminal to wrap, so that it can be copied.
        out.print(view, highlight=False, soft_wrap=isinstance(view, str))


def confirm(consequence: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone, unless the answer was given with the command.

    Raises:
        typer.Abort: the answer is no, or there is no input to read one from.
    """
    if yes:
        return
    try:
        answer = typer.confirm(f"{consequence} Go on?", err=True)
    except typer.Abort:
        if not sys.stdin.isatty():
            err.print("\nThere is no terminal to ask; --yes answers.", highlight=False)
        raise
    if not answer:
        raise typer.Abort


def print_json(value: Any) -> None:
    """One document: laid out for a person, on one line for a program."""
    if out.is_terminal:
        laid_out = json.dumps(value, default=_plain, indent=2, ensure_ascii=False)
        # JSON escapes what is below a blank; a terminal obeys more than that.
        text = "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in laid_out)
        out.print(JSONHighlighter()(text), soft_wrap=True)
    else:
        sys.stdout.write(f"{json.dumps(value, default=_plain)}\n")


def _plain(value: object) -> str | float:
    if isinstance(value, date):  # or a time of one
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
