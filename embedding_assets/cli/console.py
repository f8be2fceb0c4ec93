"""Everything that commands share: consoles, settings and logs, errors, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console

from embedding_assets.config import Settings, get_settings
from embedding_assets.logs import configure_logging, correlate

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@contextmanager
def session() -> Iterator[Settings]:
    """The settings; logs go to standard error meanwhile, and Ctrl-C ends the process with a word."""
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


def print_json(value: Any) -> None:
    """One document: laid out for a person, on one line for a program."""
    text = json.dumps(value, default=_plain)
    if out.is_terminal:
        out.print_json(text)
    else:
        sys.stdout.write(f"{text}\n")


def _plain(value: object) -> str | float:
    if isinstance(value, date):  # or a time of one
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
