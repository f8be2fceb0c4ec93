"""The command ``embedding-assets search``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from embedding_assets.cli import progress, tables
from embedding_assets.cli.console import Json, err, session, show


def search(
    query: Annotated[str, typer.Argument(help="A question in plain words.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many answers.")] = 5,
    where: Annotated[
        list[str] | None, typer.Option(help="Only chunks of which this holds, e.g. lang=en or 'price<10'; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the chunks nearest to a question."""
    from embedding_assets.retrieval import search as find

    with session() as settings:
        # Loading a local model takes some seconds.
        with progress.spinner(err, "searching", quiet=as_json or not err.is_terminal):
            results = find(query, k=k, where=where or (), settings=settings)
        view = tables.results_view(results) if results else "Nothing matches."
        show([asdict(result) for result in results], view, as_json=as_json)
