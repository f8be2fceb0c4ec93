"""Lines and tables that the command line shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embedding_assets.formatting import (
    by_device,
    counted,
    dollar_column,
    dollars,
    duration,
    megabytes,
    meter,
    moment,
    rate,
    share,
)
from embedding_assets.reporting.overview import CostOverview
from embedding_assets.reporting.status_page import cost_cell, model_line, pairs

if TYPE_CHECKING:
    from embedding_assets.config import BudgetConfig
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.pipeline.estimate import BacklogEstimate
    from embedding_assets.postgres.backlog import Backlog
    from embedding_assets.postgres.catalog import IndexState
    from embedding_assets.postgres.failures import Failure
    from embedding_assets.postgres.usage.ledger import CostRow, Spending
    from embedding_assets.spaces import SpaceColumn


def estimate_line(space: str, plan: BacklogEstimate, exceeded: Sequence[str] = (), tight: Sequence[str] = ()) -> str:
    """A sentence on what the backlog will take, and more for each dollar limit that it, or a full request, exceeds."""
    if not plan.chunks:
        return f"Nothing is due in space {escape(space)}."
    time = "an unknown time" if plan.seconds is None else f"about {duration(plan.seconds)}"
    repeated = f" ({plan.repeated:,} with the text of another, embedded once)" if plan.repeated else ""
    size = f"{counted(plan.chunks, 'chunk')}{repeated}, {counted(plan.tokens, 'token')}"
    price = "at an unknown price" if plan.usd is None else dollars(plan.usd)
    line = f"{size}: {time}, {price} (space {escape(space)})."
    full = f"A full request reserves up to {dollars(plan.request_usd or 0.0)}, so smaller ones are sent:"
    return "\n".join(
        [
            line,
            *(f"[yellow]This exceeds a limit:[/yellow] {escape(limit)}." for limit in exceeded),
            *(f"[yellow]{full}[/yellow] {escape(limit)}." for limit in tight),
        ]
    )


def run_view(stats: EmbeddingStats, index_seconds: float | None) -> RenderableType:
    """The outcome of a run."""
    if not stats.processed and stats.fallback is None:
        busy = f" Prefixes {', '.join(stats.busy_prefixes)} are held by another run." if stats.busy_prefixes else ""
        built = "" if index_seconds is None else f" The index was built in {duration(index_seconds)}."
        return Text(f"Nothing {'else ' if busy else ''}to embed.{busy}{built}")
    table = pairs()
    table.add_row("embedded", f"{counted(stats.embedded, 'chunk')}, {counted(stats.tokens, 'token')}")
    if stats.processed:
        table.add_row("time", f"{duration(stats.seconds)}, {_pace(stats)}")
    parts = [stats, *([stats.fallback] if stats.fallback else [])]
    for fallback in parts[1:]:
        pace = f", {_pace(fallback)}" if fallback.processed else ""
        failed = f", [yellow]{fallback.failed:,}[/yellow] failed" if fallback.failed else ""
        table.add_row("provider", "[yellow]down[/yellow], so what it has not embedded stays pending in its space")
        table.add_row("fallback", f"{counted(fallback.embedded, 'chunk')}{pace}{failed}")
        table.add_row("fallback's space", escape(fallback.space))
    if usd := sum(part.usd for part in parts):
        embedded = sum(part.embedded for part in parts)
        each = f", {dollars(usd * 1000 / embedded)} for 1,000 embeddings" if embedded else ""
        table.add_row("cost", f"{dollars(usd)}{each}")
    if stats.model_load_seconds:
        table.add_row("model loaded in", duration(stats.model_load_seconds))
    table.add_row("peak memory", megabytes(max(part.peak_memory_bytes for part in parts)))
    if index_seconds is not None:
        table.add_row("index built in", duration(index_seconds))
    for name, count, hint in (
        ("truncated", stats.truncated, "longer than the model reads"),
        ("failed", stats.failed, "see embedding-assets failures"),
        ("skipped", stats.skipped, "edited or deleted meanwhile"),
        ("busy prefixes", len(stats.busy_prefixes), "held by another run"),
    ):
        if count:
            table.add_row(name, f"[yellow]{count:,}[/yellow] ({hint})")
    return table


def _pace(run: EmbeddingStats) -> str:
    precision = f" in {run.precision}" if run.precision else ""
    threads = f", {counted(run.threads, 'thread')}" if run.threads else ""
    return f"{rate(run.chunks_per_second)} chunks/s {by_device(run.device)}{precision}{threads}"


def spaces_view(spaces: Sequence[tuple[SpaceColumn, Backlog, IndexState]], configured: str | None) -> RenderableType:
    """The vector spaces of a table, and how much each has embedded.

    Args:
        spaces: each with its chunks and its index.
        configured: name of the space that the settings lead to, if they lead to one of these.
    """
    if not spaces:
        return Text("There is no vector space yet; the first run of embedding-assets embed makes one.")
    views: list[RenderableType] = []
    for column, backlog, index in spaces:
        roles = [
            *(["serves searches"] if column.serving else []),
            *(["the settings lead here"] if column.space.name == configured else []),
        ]
        head = Text.assemble((column.space.name, "bold"), (f"  {', '.join(roles)}" if roles else "", "green"))
        embedded = f"{backlog.embedded:,} of {backlog.chunks:,} embedded ({share(backlog.coverage)})"
        if backlog.quarantined:
            embedded += f", [red]{backlog.quarantined:,} quarantined[/red]"
        details = pairs()
        details.add_row("model", model_line(column.space))
        details.add_row("column", f"{column.name} ({column.storage}, ranked by {column.similarity})")
        details.add_row("chunks", f"{meter(backlog.coverage, 10, 'green')} {embedded}")
        details.add_row("index", _index_text(index))
        views += [head, Padding(details, (0, 0, 1, 2))]
    return Group(*views)


def _index_text(index: IndexState) -> str:
    if index.valid:
        kind = f", of {index.cast}" if index.cast else ""
        return f"[green]valid, {megabytes(index.size_bytes)}{kind}[/]"
    return f"[yellow]{'invalid' if index.exists else 'not built yet'}[/]"


def costs_view(rows: Sequence[CostRow], total: CostRow, by: str) -> RenderableType:
    """Costs, a row for each day, run or space, and all of them together."""
    every = [*rows, total]
    presumed = any(row.presumed_usd for row in every)
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True, footer_style="bold")
    table.add_column(by, total.key, overflow="fold", min_width=10)
    usd = dollar_column([row.usd for row in every])
    rates = dollar_column([row.usd_per_1000_embeddings for row in every])
    likely = dollar_column([row.presumed_usd for row in every])
    columns = [
        ("requests", [f"{row.requests:,}" for row in every]),
        ("embeddings", [f"{row.embeddings:,}" for row in every]),
        ("tokens", [f"{row.tokens:,}" for row in every]),
        ("dollars", usd),
        ("per 1,000", rates),
        *([("presumed", likely)] if presumed else []),
    ]
    for name, cells in columns:
        table.add_column(name, cells[-1], justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        table.add_row(escape(row.key), *(cells[number] for _, cells in columns))
    if not presumed:
        return table
    note = "presumed: likely cost of requests of which it is unknown whether they were billed; it counts as spent"
    return Group(table, Text(note, style="dim"))


def budget_view(spending: Spending, budget: BudgetConfig) -> RenderableType:
    """Dollars spent, by the limits they count against."""
    table = pairs()
    today, month = CostOverview.of(spending, budget).periods
    for cost, setting in ((today, "EMBEDDING_BUDGET_USD_PER_DAY"), (month, "EMBEDDING_BUDGET_USD_PER_MONTH")):
        note = f"({setting})" if cost.limit_usd is None else setting
        table.add_row(cost.period, f"{cost_cell(cost, width=10)} [dim]{note}[/dim]")
    if budget.usd_per_run is not None:
        table.add_row("a run", f"at most {dollars(budget.usd_per_run)} [dim]EMBEDDING_BUDGET_USD_PER_RUN[/dim]")
    return table


def failures_view(failures: Sequence[Failure]) -> RenderableType:
    """Failed chunks."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("chunk", "error", "attempts", "state", "source"):
        table.add_column(column, overflow="fold")
    for failure in failures:
        state = "[red]quarantined[/red]" if failure.quarantined else f"retry after {moment(failure.retry_at)}"
        table.add_row(failure.chunk_hash[:16], failure.error_code, str(failure.attempts), state, escape(failure.source))
    return table
