"""The status page of the command line: each space in a panel, what is wrong in words, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from embedding_assets.formatting import by_device, counted, dollars, megabytes, meter, milliseconds, moment, rate, share
from embedding_assets.reporting.figures.points import nearest

if TYPE_CHECKING:
    from embedding_assets.reporting.overview import CostOverview, IndexOverview, Overview, SpaceOverview


_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_METER: Final = 24
_LATEST: Final = 24
_COLOURS: Final = {"": "green", "warn": "yellow", "bad": "red"}


def status_page(data: Overview) -> RenderableType:
    """Everything at a glance; legible from 80 columns on and without colours."""
    documents = f" of {counted(data.documents, 'document')}" if data.documents else ""
    head = Text.assemble((counted(data.chunks, "chunk"), "bold"), f"{documents} in knowledge_base ({data.database})")
    if not data.spaces:
        return Group(
            head, Text("Nothing is embedded yet. Next: embedding-assets " + ("embed" if data.chunks else "load PATH"))
        )
    parts: list[RenderableType] = [head, *(_space(space) for space in data.spaces)]
    if data.costs.days or data.costs.limit_per_day_usd or data.costs.limit_per_month_usd:
        parts.append(Panel(_costs(data.costs), title="costs", title_align="left", border_style="dim"))
    if data.settings:
        changed = "; ".join(f"{setting.name}={setting.value}" for setting in data.settings)
        parts.append(Text(f"Not at their defaults: {changed}", style="dim"))
    return Group(*parts)


def sparkline(values: Sequence[float], *, lowest: float = 0.0) -> str:
    """A character a value, as high as the value is between ``lowest`` and the highest one."""
    extent = max(values, default=lowest) - lowest
    if extent <= 0:
        return _BLOCKS[0] * len(values)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[max(0, min(top, round((value - lowest) / extent * top)))] for value in values)


def _space(space: SpaceOverview) -> Panel:
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("model", f"{escape(space.model)}, {space.dimensions} dimensions, {escape(space.place)}")
    rows.add_row("column", escape(space.column))
    if space.chunks:
        covered = space.embedded / space.chunks
        bar = meter(covered, _METER, "green" if covered == 1 else "yellow")
        rows.add_row("embedded", f"{bar} {share(space.embedded, space.chunks)} of {space.chunks:,} chunks")
    else:
        rows.add_row("embedded", "no chunks yet")
    if space.pending:
        waiting = f", {space.waiting:,} of them wait for a retry" if space.waiting else ""
        rows.add_row("pending", f"[yellow]{space.pending:,}[/]{waiting}")
        rows.add_row("", _pending_by_prefix(space))
    if space.quarantined:
        rows.add_row("quarantined", f"[red]{space.quarantined:,}[/] (see embedding-assets failures)")
    if space.failures:
        rows.add_row("errors", ", ".join(f"{escape(code)} {count:,}" for code, count in space.failures.items()))
    rows.add_row("runs", _runs(space))
    rows.add_row("index", _index(space.index))
    parts: list[RenderableType] = [rows]
    if space.index.curve:
        parts.append(Padding(_curve(space.index), (1, 0, 0, 0)))
    parts.append(Padding(_checks(space), (1, 0, 0, 0)))
    colour = "red" if any(check.blocking and not check.passed for check in space.checks) else "dim"
    serving = " (answers searches)" if space.serving else ""
    return Panel(
        Group(*parts), title=f"[bold not dim]{escape(space.name)}[/]{serving}", title_align="left", border_style=colour
    )


def _pending_by_prefix(space: SpaceOverview) -> Text:
    pending: Counter[str] = Counter()
    for counts in space.prefixes:
        pending[counts.prefix[:1]] += counts.pending
    return Text.assemble((sparkline(list(pending.values())), "yellow"), "\n", ("".join(pending), "dim"), " by prefix")


def _runs(space: SpaceOverview) -> Text:
    run = space.telling_run
    if run is None:
        return Text("none has embedded a chunk yet")
    rates = [run.chunks_per_second for run in space.runs[-_LATEST:]]
    latest = space.runs[-1]
    since = "" if run is latest else f"; the latest: {counted(latest.embedded, 'chunk')}, {moment(latest.finished_at)}"
    return Text.assemble(
        (f"{sparkline(rates)} ", "blue"),
        (f"{rate(run.chunks_per_second)} chunks/s", "yellow" if space.is_slow else ""),
        f" {by_device(run.device)}, {counted(run.embedded, 'chunk')}, {moment(run.finished_at)}{since}",
    )


def _index(index: IndexOverview) -> str:
    if index.state != "valid":
        return f"[red]{index.state}[/]: embedding-assets health builds it"
    measured = (
        f", measured {moment(index.measured_at)}"
        if index.measured_at
        else ", not measured yet: embedding-assets health does"
    )
    exact = f"; a search without it takes {milliseconds(index.exact_p50_ms)}" if index.exact_p50_ms else ""
    return f"[green]valid[/], {megabytes(index.size_bytes)}, ef_search {index.ef_search}{measured}{exact}"


def _curve(index: IndexOverview) -> Table:
    """Recall and latency by ef_search, the one in use in bold and marked."""
    in_use = nearest(index.curve, index.ef_search)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    for _ in index.curve:
        table.add_column(justify="right", no_wrap=True)

    def row(name: str, cells: list[str]) -> None:
        marked = zip(cells, index.curve, strict=True)
        table.add_row(name, *(f"[bold]{cell}[/]" if point is in_use else cell for cell, point in marked))

    lowest = min(point.recall for point in index.curve) - 0.05
    bars = sparkline([point.recall for point in index.curve], lowest=max(lowest, 0.0))
    row("ef_search", [f"{point.ef_search}" + ("*" if point is in_use else "") for point in index.curve])
    row("recall@10", [f"{point.recall:.3f}" for point in index.curve])
    row("", [f"[blue]{bar}[/]" for bar in bars])
    row("median ms", [milliseconds(point.p50_milliseconds, unit="") for point in index.curve])
    row("p95 ms", [milliseconds(point.p95_milliseconds, unit="") for point in index.curve])
    return table


def _checks(space: SpaceOverview) -> RenderableType:
    """The names of those that passed in a row; the others with what to do."""
    checks = space.checks
    passed = [Text.assemble(("✔ ", "green"), check.name) for check in checks if check.passed]
    parts: list[RenderableType] = [Columns(passed, padding=(0, 2))] if passed else []
    parts += [Text(f"· {name} is not looked at here: embedding-assets health", style="dim") for name in space.unchecked]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for check in sorted((check for check in checks if not check.passed), key=lambda check: not check.blocking):
        table.add_row("[red]✘[/]" if check.blocking else "[yellow]![/]", check.name, escape(check.description))
    return Group(*parts, *([table] if table.row_count else []))


def _costs(costs: CostOverview) -> Table:
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for cost in costs.periods:
        if cost.limit_usd is None or cost.used is None:
            rows.add_row(cost.period, f"{dollars(cost.usd)}, no limit")
        else:
            bar = meter(cost.used, _METER, _COLOURS[cost.state])
            rows.add_row(cost.period, f"{bar} {dollars(cost.usd)} of {dollars(cost.limit_usd)}")
    if costs.days:
        spent: Counter[int] = Counter()
        last = max(day.day for day in costs.days)
        for day in costs.days:
            spent[(last - day.day).days] += day.usd  # type: ignore[assignment]
        latest = [float(spent[back]) for back in reversed(range(min(max(spent) + 1, 30)))]
        first = last - timedelta(len(latest) - 1)
        rows.add_row("by day", Text.assemble((sparkline(latest), "blue"), f" {first} to {last}"))
    return rows
