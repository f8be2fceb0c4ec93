"""What is installed, in a line that belongs into a report of a fault."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Annotated, Final

import typer

from embedding_assets.cli.console import out

_PACKAGES: Final = ("dagster", "torch", "sentence-transformers", "openai", "psycopg", "pgvector")


def _show(asked: bool) -> None:
    if asked:
        installed = ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]
        )
        out.print(f"embedding-assets {version('embedding-assets')} ({installed})", highlight=False, soft_wrap=True)
        raise typer.Exit


def options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the versions of this and of what it stands on.", callback=_show, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the command itself."""
