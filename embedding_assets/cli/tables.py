"""What the command line shows: lines and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embedding_assets.formatting import counted
from embedding_assets.reporting.overview import place_of

if TYPE_CHECKING:
    from decimal import Decimal

    from embedding_assets.config import BudgetConfig
    from embedding_assets.documents.loading import LoadReport
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.pipeline.estimate import BacklogEstimate
    from embedding_assets.postgres.catalog import IndexState
    from embedding_assets.postgres.failures import Failure
    from embedding_assets.postgres.runs import PastRun
    from embedding_assets.postgres.usage.ledger import CostRow, Spending
    from embedding_assets.reporting.status import TableStatus
    from embedding_assets.retrieval import SearchResult
    from embedding_assets.spaces import VectorSpace


_EXCERPT_CHARACTERS = 240


def load_line(report: LoadReport) -> str:
    """What loading did, in one sentence."""
    parts = [
        f"{counted(report.documents, 'document')} ({report.unchanged:,} unchanged)",
        f"{counted(report.added, 'chunk')} added",
        f"{report.removed:,} removed",
    ]
    if report.rejected:
        parts.append(f"[yellow]{report.rejected:,} rejected[/yellow]")
    return "Loaded " + ", ".join(parts) + "."


def estimate_line(space: str, plan: BacklogEstimate, passed: Sequence[str] = ()) -> str:
    """What the backlog will take, in one sentence, and another for each dollar limit that it passes."""
    if not plan.chunks:
        return f"Nothing is due in space {escape(space)}."
    duration = "an unknown time" if plan.seconds is None else f"about {_duration(plan.seconds)}"
    size = f"{counted(plan.chunks, 'chunk')}, {counted(plan.tokens, 'token')}"
    dollars = "at an unknown price" if plan.usd is None else dollar_text(plan.usd)
    line = f"{size}: {duration}, {dollars} (space {escape(space)})."
    return "\n".join([line, *(f"[yellow]This passes a limit:[/yellow] {escape(limit)}." for limit in passed)])


def run_view(stats: EmbeddingStats, index_seconds: float | None) -> RenderableType:
    """The outcome of a run."""
    if not stats.processed and stats.fallback is None:
        busy = f" Prefixes {', '.join(stats.busy_prefixes)} are held by another run." if stats.busy_prefixes else ""
        built = "" if index_seconds is None else f" The index was built in {index_seconds:.1f} s."
        return Text(f"Nothing to embed.{busy}{built}")
    table = pairs()
    table.add_row("embedded", f"{counted(stats.embedded, 'chunk')}, {counted(stats.tokens, 'token')}")
    if stats.processed:
        table.add_row("time", f"{_duration(stats.seconds)}, {_pace(stats)}")
    parts = [stats, *([stats.fallback] if stats.fallback else [])]
    for fallback in parts[1:]:
        pace = f", {_pace(fallback)}" if fallback.processed else ""
        failed = f", [yellow]{fallback.failed:,}[/yellow] failed" if fallback.failed else ""
        table.add_row("provider", "[yellow]down[/yellow], so what it has not embedded stays pending in its space")
        table.add_row("fallback", f"{counted(fallback.embedded, 'chunk')}{pace}{failed}")
        table.add_row("fallback's space", escape(fallback.space))
    if usd := sum(part.usd for part in parts):
        embedded = sum(part.embedded for part in parts)
        rate = f", {dollar_text(usd * 1000 / embedded)} for 1,000 embeddings" if embedded else ""
        table.add_row("cost", f"{dollar_text(usd)}{rate}")
    if stats.model_load_seconds:
        table.add_row("model loaded in", f"{stats.model_load_seconds:.1f} s")
    table.add_row("peak memory", f"{max(part.peak_memory_bytes for part in parts) / 1e6:,.0f} MB")
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


def _pace(run: EmbeddingStats | PastRun) -> str:
    where = "by the API" if run.device == "api" else f"on {run.device}"
    return f"{run.chunks_per_second:.1f} chunks/s {where}{f' in {run.precision}' if run.precision else ''}"


def spaces_view(table: TableStatus, configured: str | None) -> RenderableType:
    """Who has embedded how much of the table, and where.

    Args:
        table: its spaces.
        configured: name of the space that the settings lead to, if they lead to one of these.
    """
    if not table.spaces:
        return Text("There is no vector space yet; the first run of embedding-assets embed makes one.")
    views: list[RenderableType] = []
    for status in table.spaces:
        column, backlog = status.column, status.backlog
        roles = [
            *(["serves searches"] if column.serving else []),
            *(["the settings lead here"] if column.space.name == configured else []),
        ]
        head = Text.assemble((column.space.name, "bold"), (f"  {', '.join(roles)}" if roles else "", "green"))
        counted = f"{backlog.embedded:,} of {backlog.chunks:,} embedded ({_percent(status.coverage)})"
        if backlog.quarantined:
            counted += f", [red]{backlog.quarantined:,} quarantined[/red]"
        details = pairs()
        details.add_row("model", _model_text(column.space))
        details.add_row("column", column.name)
        details.add_row("chunks", f"{_meter(status.coverage, 10)} {counted}")
        details.add_row("index", _index_text(status.index))
        views += [head, Padding(details, (0, 0, 1, 2))]
    return Group(*views)


def _model_text(space: VectorSpace) -> str:
    return f"{escape(space.model)}, {space.dimensions} dimensions, {escape(place_of(space))}"


def _index_text(index: IndexState) -> str:
    state = "invalid" if index.exists else "not built yet"
    if index.valid:
        state = f"valid, {index.size_bytes / 1e6:,.1f} MB"
    return f"[{'green' if index.valid else 'yellow'}]{state}[/]"


def _percent(share: float) -> str:
    # 100 % only when nothing is missing.
    return f"{share if share >= 1 else min(share, 0.999):.1%}"


def costs_view(rows: Sequence[CostRow], total: CostRow, by: str) -> RenderableType:
    """What was billed, a row for each day, run or space, and all of it together."""
    every = [*rows, total]
    presumed = any(row.presumed_usd for row in every)
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True, footer_style="bold")
    table.add_column(by, total.key, overflow="fold", min_width=10)
    usd = _dollar_column([row.usd for row in every])
    rates = _dollar_column([row.usd_per_1000_embeddings for row in every])
    likely = _dollar_column([row.presumed_usd for row in every])
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
    note = "presumed: likely cost of requests of which nobody knows whether they were billed; it counts as spent"
    return Group(table, Text(note, style="dim"))


def budget_view(spending: Spending, budget: BudgetConfig) -> RenderableType:
    """What counts against the limits in dollars."""
    table = pairs()
    for name, spent, limit, setting in (
        ("today", spending.day, budget.usd_per_day, "EMBEDDING_BUDGET_USD_PER_DAY"),
        ("this month", spending.month, budget.usd_per_month, "EMBEDDING_BUDGET_USD_PER_MONTH"),
    ):
        if limit is None:
            table.add_row(name, f"{dollar_text(spent)}, no limit [dim]({setting})[/dim]")
            continue
        share = float(spent / limit)
        colour = "red" if share >= 1 else "yellow" if share >= budget.alert_share else "green"
        used = f"{dollar_text(spent)} of {dollar_text(limit)} ({share:.0%})"
        table.add_row(name, f"{_meter(share, 10, colour=colour)} {used} [dim]{setting}[/dim]")
    if budget.usd_per_run is not None:
        table.add_row("a run", f"at most {dollar_text(budget.usd_per_run)} [dim]EMBEDDING_BUDGET_USD_PER_RUN[/dim]")
    return table


def results_view(results: Sequence[SearchResult]) -> RenderableType:
    """Answers with score, source and the beginning of the text; with their space where there are several.

    Scores can be compared within a space only.
    """
    views: list[RenderableType] = []
    several = len({result.space for result in results}) > 1
    for result in results:
        place = result.context_header or result.title
        space = f"  ({result.space})" if several else ""
        head = (f"{result.score:.3f}", "bold green"), "  ", (place, "bold"), "  ", (result.source + space, "dim")
        views.append(Text.assemble(*head))
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


def _meter(share: float, width: int = 20, *, colour: str = "green") -> str:
    # Full only when nothing is missing.
    filled = width if share >= 1 else min(width - 1, round(share * width))
    return f"[{colour}]{'━' * filled}[/{colour}][dim]{'━' * (width - filled)}[/dim]"


def dollar_text(amount: Decimal | float) -> str:
    """Dollars in cents, or as exactly as it takes to say anything."""
    return _dollar_column([amount])[0]


def _dollar_column(amounts: Sequence[Decimal | float | None]) -> list[str]:
    """Amounts with as many decimals, 2 to 8, as the smallest of them needs for two digits."""
    least = min((float(amount) for amount in amounts if amount), default=1.0)
    decimals = next((decimals for decimals in range(2, 8) if least >= 10.0 ** (1 - decimals)), 8)
    cells = ["" if amount is None else f"${amount:,.{decimals}f}" for amount in amounts]
    while decimals > 2 and all(cell.endswith("0") for cell in cells if cell):
        decimals -= 1
        cells = [cell[:-1] for cell in cells]
    return cells


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
