"""What the command line shows: bars, lines and tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from embedding_assets.health import Verdict
    from embedding_assets.loading import LoadReport
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.planning import BacklogEstimate
    from embedding_assets.postgres.failures import Failure
    from embedding_assets.search import SearchResult
    from embedding_assets.status import SpaceStatus, TableStatus

__all__ = [
    "bar",
    "counter",
    "estimate_line",
    "failures_view",
    "load_line",
    "pairs",
    "results_view",
    "run_view",
    "spinner",
    "status_view",
    "verdicts_view",
]

_PLAIN_EVERY_SECONDS = 10.0
_EXCERPT_CHARACTERS = 240


@contextmanager
def bar(console: Console, title: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left; where there is no terminal, a line every ten seconds."""
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
        ) as progress:
            task = progress.add_task(title, total=total, rate="")

            def advance(amount: int) -> None:
                progress.update(task, advance=amount)
                speed = progress.tasks[0].speed
                progress.update(task, rate=f"{speed:.1f} chunks/s" if speed else "")

            yield advance
    else:
        yield _PlainProgress(console, title, total)


class _PlainProgress:
    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self._done = 0
        self._started = self._last = time.monotonic()

    def __call__(self, amount: int) -> None:
        if not amount:
            return
        complete = self._done < self._total <= self._done + amount
        self._done += amount
        now = time.monotonic()
        if now - self._last < _PLAIN_EVERY_SECONDS and not complete:
            return
        self._last = now
        rate = self._done / max(now - self._started, 1e-9)
        left = max(0, self._total - self._done) / rate if rate else 0
        total = max(self._done, self._total)
        self._console.print(
            f"{self._title}: {self._done:,} of {total:,} chunks, {rate:.1f} chunks/s, {left:.0f} s left",
            highlight=False,
        )


@contextmanager
def counter(console: Console, title: str, unit: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A running count of something whose total is unknown."""
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f} " + unit),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda amount: progress.advance(task, amount)


@contextmanager
def spinner(console: Console, title: str, *, quiet: bool = False) -> Iterator[None]:
    """A sign of life for something short."""
    if quiet:
        yield
    elif console.is_terminal:
        with console.status(title):
            yield
    else:
        console.print(title)
        yield


def load_line(report: LoadReport) -> str:
    """What loading did, in one sentence."""
    parts = [
        f"{_counted(report.documents, 'document')} ({report.unchanged:,} unchanged)",
        f"{_counted(report.added, 'chunk')} added",
        f"{report.removed:,} removed",
    ]
    if report.rejected:
        parts.append(f"[yellow]{report.rejected:,} rejected[/yellow]")
    return "Loaded " + ", ".join(parts) + "."


def estimate_line(space: str, plan: BacklogEstimate) -> str:
    """What the backlog will take, in one sentence."""
    if not plan.chunks:
        return f"Nothing is due in space {escape(space)}."
    duration = "an unknown time" if plan.seconds is None else f"about {_duration(plan.seconds)}"
    size = f"{_counted(plan.chunks, 'chunk')}, {plan.tokens:,} tokens"
    return f"{size}: {duration}, ${plan.usd:.2f} (space {escape(space)})."


def run_view(stats: EmbeddingStats, index_seconds: float | None) -> RenderableType:
    """The outcome of a run."""
    if not stats.processed:
        busy = f" Prefixes {', '.join(stats.busy_prefixes)} are held by another run." if stats.busy_prefixes else ""
        built = "" if index_seconds is None else f" The index was built in {index_seconds:.1f} s."
        return Text(f"Nothing to embed.{busy}{built}")
    table = pairs()
    table.add_row("embedded", f"{_counted(stats.embedded, 'chunk')}, {_counted(stats.tokens, 'token')}")
    table.add_row(
        "time",
        f"{_duration(stats.seconds)}, {stats.chunks_per_second:.1f} chunks/s on {stats.device} in {stats.precision}",
    )
    table.add_row("model loaded in", f"{stats.model_load_seconds:.1f} s")
    table.add_row("peak memory", f"{stats.peak_memory_bytes / 1e6:,.0f} MB")
    if index_seconds is not None:
        table.add_row("index built in", f"{index_seconds:.1f} s")
    for name, count, hint in (
        ("truncated", stats.truncated, "longer than the model reads"),
        ("failed", stats.failed, "see embedding-assets failures"),
        ("skipped", stats.skipped, "edited or deleted meanwhile"),
        ("busy prefixes", len(stats.busy_prefixes), "held by another run"),
    ):
        if count:
            table.add_row(name, f"[yellow]{count:,}[/yellow] ({hint})")
    return table


def status_view(table: TableStatus, address: str) -> RenderableType:
    """The table and its spaces."""
    head = Text.assemble((f"{table.chunks:,}", "bold"), f" chunks in knowledge_base ({address})")
    if not table.spaces:
        return Group(
            head, Text("Nothing is embedded yet. Next: embedding-assets " + ("embed" if table.chunks else "load PATH"))
        )
    return Group(head, *(Padding(_space_view(space), (1, 0, 0, 0)) for space in table.spaces))


def _space_view(space: SpaceStatus) -> Table:
    backlog, run, index = space.backlog, space.latest_run, space.index
    table = pairs(escape(space.record.space.name) + (" (serves searches)" if space.record.serving else ""))
    share = backlog.embedded / backlog.chunks if backlog.chunks else 1.0
    table.add_row("model", f"{escape(space.record.space.model)}, {space.record.space.dimensions} dimensions")
    table.add_row("column", space.record.column)
    table.add_row("embedded", f"{_meter(share)} {backlog.embedded:,} ({share:.1%})")
    waiting = f", {backlog.waiting:,} wait for a retry" if backlog.waiting else ""
    table.add_row("pending", f"{backlog.pending:,}{waiting}")
    if backlog.quarantined:
        table.add_row("quarantined", f"[red]{backlog.quarantined:,}[/red] (see embedding-assets failures)")
    if backlog.unreachable:
        table.add_row("unreachable", f"[red]{backlog.unreachable:,}[/red] (chunk_hash is not lowercase hex)")
    state = "invalid" if index.exists else "not built yet"
    if index.valid:
        state = f"valid, {index.size_bytes / 1e6:,.1f} MB"
    table.add_row("index", f"{index.name}: [{'green' if index.valid else 'yellow'}]{state}[/]")
    if run:
        table.add_row(
            "latest run",
            f"{run.finished_at:%Y-%m-%d %H:%M} · {_counted(run.embedded, 'chunk')} · "
            f"{run.chunks_per_second:.1f} chunks/s on {run.device} in {run.precision}",
        )
    return table


def results_view(results: Sequence[SearchResult]) -> RenderableType:
    """Answers with score, source and the beginning of the text."""
    views: list[RenderableType] = []
    for result in results:
        place = result.context_header or result.title
        views.append(
            Text.assemble((f"{result.score:.3f}", "bold green"), "  ", (place, "bold"), "  ", (result.source, "dim"))
        )
        excerpt = " ".join(result.text.split())
        if len(excerpt) > _EXCERPT_CHARACTERS:
            excerpt = excerpt[:_EXCERPT_CHARACTERS].rsplit(" ", 1)[0] + " …"
        views.append(Padding(Text(excerpt), (0, 0, 1, 7)))
    return Group(*views)


def failures_view(failures: Sequence[Failure]) -> RenderableType:
    """Failed chunks."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("chunk", "error", "attempts", "state", "source"):
        table.add_column(column, overflow="fold")
    for failure in failures:
        state = "[red]quarantined[/red]" if failure.quarantined else f"retry after {failure.retry_at:%Y-%m-%d %H:%M}"
        table.add_row(failure.chunk_hash[:16], failure.error_code, str(failure.attempts), state, escape(failure.source))
    return table


def verdicts_view(verdicts: Sequence[Verdict]) -> RenderableType:
    """The outcome of checks."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in verdicts:
        mark = "[green]✔[/]" if verdict.passed else "[red]✘[/]" if verdict.blocking else "[yellow]![/]"
        table.add_row(mark, verdict.name, escape(verdict.description))
    return table


def pairs(title: str | None = None) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _meter(share: float, width: int = 20) -> str:
    # Full only when nothing is missing.
    filled = width if share >= 1 else min(width - 1, round(share * width))
    return f"[green]{'━' * filled}[/green][dim]{'━' * (width - filled)}[/dim]"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
