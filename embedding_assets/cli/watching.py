"""``embedding-assets embed --watch``: what comes is embedded until the command is stopped."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from embedding_assets.cli import progress
from embedding_assets.cli.console import err, out, print_json
from embedding_assets.formatting import counted, duration
from embedding_assets.pipeline.readiness import FEW_CHUNKS
from embedding_assets.pipeline.run import RunOutcome
from embedding_assets.pipeline.watching import Watch

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.planning import PrefixRange
    from embedding_assets.postgres.connection import Database


def watch(
    settings: Settings,
    database: Database,
    prefixes: PrefixRange,
    *,
    batch_size: int | None,
    index: bool,
    as_json: bool,
) -> None:
    """Embed what comes, and print a line for each run: a sentence, or a JSON document. Ends by a signal alone."""
    if not as_json:
        err.print("Watching for chunks without a vector (stop it with Ctrl-C)", highlight=False)
    runs = Watch(
        settings,
        database,
        prefixes,
        batch_size=batch_size,
        index=index,
        progress=lambda due: progress.bar(err, "embedding", due, quiet=as_json or due <= FEW_CHUNKS),
    )
    for result in runs:
        if not isinstance(result, RunOutcome):
            err.print(f"{_now()}  waiting: {result.reason}", style="yellow", highlight=False, markup=False)
        elif as_json:
            print_json({**result.stats.model_dump(), "index_seconds": result.index_seconds})
            sys.stdout.flush()
        elif line := run_line(result):
            out.print(f"{_now()}  {line}", highlight=False)


def run_line(outcome: RunOutcome) -> str:
    """What a run did, on a line; empty if it did nothing."""
    stats = outcome.stats
    parts = [f"embedded {counted(stats.embedded, 'chunk')} in {duration(stats.seconds)}"] if stats.processed else []
    if stats.fallback is not None and stats.fallback.embedded:
        parts.append(f"{stats.fallback.embedded:,} by the fallback")
    for name, count in (("failed", stats.failed), ("edited or deleted meanwhile", stats.skipped)):
        if count:
            parts.append(f"{count:,} {name}")
    if outcome.index_seconds is not None:
        parts.append(f"index built in {duration(outcome.index_seconds)}")
    return ", ".join(parts)


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%S}"
