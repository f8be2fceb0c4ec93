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
from embedding_assets.postgres.index.recall import nearest_point
from embedding_assets.reporting.overview import place_of

if TYPE_CHECKING:
    from embedding_assets.health.verdict import Verdict
    from embedding_assets.postgres.index.recall import CurvePoint
    from embedding_assets.reporting.overview import CostOverview, Overview, PeriodCost, SpaceOverview
    from embedding_assets.spaces import VectorSpace

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_METER: Final = 24
_LATEST: Final = 24
_COLOURS: Final = {"": "green", "warn": "yellow", "bad": "red"}


def status_page(data: Overview) -> RenderableType:
    """Everything at a glance; legible from 80 columns on and without colours."""
    documents = f" of {counted(data.documents, 'document')}" if data.documents else ""
    # The address on a line of its own: with it the line would be too long for most windows.
    head = Text.assemble(
        (counted(data.chunks, "chunk"), "bold"), f"{documents} in {data.table}\n", (data.database, "dim")
    )
    if not data.spaces:
        step = f". Next: {data.next_command}" if data.next_command else f": {data.table} is empty"
        return Group(head, Text(f"Nothing is embedded yet{step}"))
    parts: list[RenderableType] = [head, *(_space(data, space) for space in data.spaces)]
    if data.costs.days or data.costs.limit_usd_per_day or data.costs.limit_usd_per_month:
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


def pairs() -> Table:
    """A table of names and values."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each verdict: a mark, the check's name, what was found and what to do."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in verdicts:
        mark = "[green]✔[/]" if verdict.passed else "[red]✘[/]" if verdict.is_error else "[yellow]![/]"
        table.add_row(mark, verdict.name, escape(verdict.description))
    return table


def _space(data: Overview, space: SpaceOverview) -> Panel:
    column, backlog = space.column, space.backlog
    rows = pairs()
    rows.add_row("model", model_line(column.space))
    rows.add_row("column", escape(column.name))
    if backlog.chunks:
        bar = meter(backlog.coverage, _METER, "green" if backlog.coverage == 1 else "yellow")
        rows.add_row("embedded", f"{bar} {share(backlog.coverage)} of {backlog.chunks:,} chunks")
    else:
        rows.add_row("embedded", "no chunks yet")
    if backlog.pending:
        waiting = f", {backlog.waiting:,} of them wait for a retry" if backlog.waiting else ""
        rows.add_row("pending", f"[yellow]{backlog.pending:,}[/]{waiting}")
        rows.add_row("", _pending_by_prefix(space))
    if backlog.quarantined:
        rows.add_row("quarantined", f"[red]{backlog.quarantined:,}[/] (see embedding-assets failures)")
    if space.failures:
        rows.add_row("errors", ", ".join(f"{escape(code)} {count:,}" for code, count in space.failures.items()))
    rows.add_row("runs", _runs(data, space))
    rows.add_row("index", _index(data, space))
    parts: list[RenderableType] = [rows]
    if space.curve:
        parts.append(Padding(_curve(space.curve, data.ef_search), (1, 0, 0, 0)))
    parts.append(Padding(_checks(space), (1, 0, 0, 0)))
    colour = "red" if any(check.is_error for check in space.checks) else "dim"
    serving = " (answers searches)" if column.serving else ""
    return Panel(
        Group(*parts), title=f"[bold not dim]{escape(space.name)}[/]{serving}", title_align="left", border_style=colour
    )


def model_line(space: VectorSpace) -> str:
    """A space's model, and where it runs."""
    return f"{escape(space.model)}, {space.dimensions} dimensions, {escape(place_of(space))}"


def _pending_by_prefix(space: SpaceOverview) -> Text:
    pending: Counter[str] = Counter()
    for counts in space.prefixes:
        pending[counts.prefix[:1]] += counts.pending
    return Text.assemble((sparkline(list(pending.values())), "yellow"), "\n", ("".join(pending), "dim"), " by prefix")


def _runs(data: Overview, space: SpaceOverview) -> Text:
    run = space.representative_run
    if run is None:
        return Text("none has embedded a chunk yet")
    rates = [run.chunks_per_second for run in space.runs[-_LATEST:]]
    latest = space.runs[-1]
    since = "" if run is latest else f"; the latest: {counted(latest.embedded, 'chunk')}, {moment(latest.finished_at)}"
    return Text.assemble(
        (f"{sparkline(rates)} ", "blue"),
        (f"{rate(run.chunks_per_second)} chunks/s", "yellow" if data.is_slow(space) else ""),
        f" {by_device(run.device, run.threads)}, {counted(run.embedded, 'chunk')}, {moment(run.finished_at)}{since}",
    )


def _index(data: Overview, space: SpaceOverview) -> str:
    index, measurement, exact = space.index, space.measurement, space.exact_p50_ms
    if not index.valid:
        return f"[red]{index.status}[/]: embedding-assets health builds it"
    measured = (
        f"measured {moment(measurement.measured_at)}" if measurement else "not measured yet: embedding-assets health"
    )
    without = f"; a search without it takes {milliseconds(exact)}" if exact else ""
    ef_search = data.ef_search
    return f"[green]valid[/], {megabytes(index.size_bytes)}, ef_search {ef_search}, {measured}{without}"


def _curve(curve: Sequence[CurvePoint], ef_search: int) -> Table:
    """Recall and latency by ef_search, the one in use in bold and marked."""
    in_use = nearest_point(curve, ef_search)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    for _ in curve:
        table.add_column(justify="right", no_wrap=True)

    def row(name: str, cells: list[str]) -> None:
        marked = zip(cells, curve, strict=True)
        table.add_row(name, *(f"[bold]{cell}[/]" if point is in_use else cell for cell, point in marked))

    lowest = min(point.recall for point in curve) - 0.05
    bars = sparkline([point.recall for point in curve], lowest=max(lowest, 0.0))
    row("ef_search", [f"{point.ef_search}" + ("*" if point is in_use else "") for point in curve])
    row("recall@10", [f"{point.recall:.3f}" for point in curve])
    row("", [f"[blue]{bar}[/]" for bar in bars])
    row("median ms", [milliseconds(point.p50_ms, unit="") for point in curve])
    row("p95 ms", [milliseconds(point.p95_ms, unit="") for point in curve])
    return table


def _checks(space: SpaceOverview) -> RenderableType:
    """The names of those that passed in a row; the others with what to do."""
    passed = [Text.assemble(("✔ ", "green"), check.name) for check in space.checks if check.passed]
    parts: list[RenderableType] = [Columns(passed, padding=(0, 2))] if passed else []
    parts += [Text(f"· {name} is not checked here: embedding-assets health", style="dim") for name in space.unchecked]
    failed = sorted((check for check in space.checks if not check.passed), key=lambda check: not check.is_error)
    return Group(*parts, *([verdict_table(failed)] if failed else []))


def cost_cell(cost: PeriodCost, *, width: int = _METER) -> str:
    """Dollars spent in a period, with their share of its limit; its bar takes ``width`` columns."""
    if cost.limit_usd is None or cost.used is None:
        return f"{dollars(cost.usd)}, no limit"
    bar = meter(cost.used, width, _COLOURS[cost.state])
    return f"{bar} {dollars(cost.usd)} of {dollars(cost.limit_usd)} ({share(cost.used)})"


def _costs(costs: CostOverview) -> Table:
    rows = pairs()
    for cost in costs.periods:
        rows.add_row(cost.period, cost_cell(cost))
    if costs.days:
        spent: Counter[int] = Counter()
        last = max(day.day for day in costs.days)
        for day in costs.days:
            spent[(last - day.day).days] += day.usd  # type: ignore[assignment]
        latest = [float(spent[back]) for back in reversed(range(min(max(spent) + 1, 30)))]
        first = last - timedelta(len(latest) - 1)
        rows.add_row("by day", Text.assemble((sparkline(latest), "blue"), f" {first} to {last}"))
    return rows
