"""What every benchmark says and how: interleaved rounds, a table, a picture, JSON."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from peak import peak_memory_mb
from rich.console import Console
from rich.table import Table

__all__ = [
    "Aim",
    "Result",
    "Row",
    "describe_machine",
    "interleave",
    "peak_memory_mb",
    "print_result",
    "publish",
]

RESULTS = Path(__file__).parent / "results"

# Instruction sets that decide which arithmetic pays.
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16")


@dataclass(frozen=True)
class Row:
    """One compared way.

    Attributes:
        label: what it is.
        rounds: one value a round, in the result's unit; empty if it could not be run.
        peak_memory_mb: highest resident memory of its process, megabytes.
        note: why it could not be run, or what a reader must know of it.
        ours: whether this is the package's own way.
        group: of a result that compares several things: rows are compared with those of the same group.
    """

    label: str
    rounds: list[float]
    peak_memory_mb: float | None = None
    note: str = ""
    ours: bool = False
    group: str = ""

    @property
    def median(self) -> float | None:
        """The middle round; None if there is none."""
        return statistics.median(self.rounds) if self.rounds else None


@dataclass(frozen=True)
class Aim:
    """What was hoped for, and what came out; ``measured`` is NaN if that needs a way that could not be run."""

    text: str
    measured: float
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the measured value is on the right side of the wanted one."""
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


@dataclass(frozen=True)
class Result:
    """One comparison.

    Attributes:
        name: stem of its files under ``benchmarks/results/``.
        title: what is compared, as a headline.
        unit: of the rows' values: ``chunks/s``, ``rows/s``, ``ms``, ``s``.
        rows: the compared ways, in the order they are shown.
        aims: what was hoped for.
        facts: sizes, settings, versions: whatever a reader needs to repeat or to judge it.
        lower_is_better: whether the values are times rather than rates.
    """

    name: str
    title: str
    unit: str
    rows: list[Row]
    aims: list[Aim]
    facts: dict[str, object] = field(default_factory=dict)
    lower_is_better: bool = False

    def advantage(self, row: Row) -> float | None:
        """How many times as good as this row our way is; None without exactly one way of ours, or without values."""
        ours = [one.median for one in self.rows if one.ours and one.group == row.group]
        if len(ours) != 1 or ours[0] is None or row.median is None:
            return None
        return row.median / ours[0] if self.lower_is_better else ours[0] / row.median


def describe_machine() -> dict[str, object]:
    """The kind of machine, nothing that names it; and what ``BENCHMARK_REMARK`` says a reader must know of it."""
    return {
        "architecture": platform.machine(),
        "cpu": _cpu_field("model name") or platform.processor(),
        "cores": os.cpu_count(),
        "cpu_flags": [flag for flag in _CPU_FLAGS if flag in cpu_flags()],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "remark": os.environ.get("BENCHMARK_REMARK", ""),
    }


def cpu_flags() -> set[str]:
    """The instruction sets the kernel lists; empty where it does not."""
    return set((_cpu_field("flags") or _cpu_field("Features")).split())


def cpu_kind() -> Literal["amx", "amd", "intel"]:
    """Kinds whose results stand beside each other: with AMX, of AMD without, of another maker without."""
    if "amx_bf16" in cpu_flags():
        return "amx"
    return "amd" if _cpu_field("vendor_id") == "AuthenticAMD" else "intel"


def _cpu_field(name: str) -> str:
    path = Path("/proc/cpuinfo")
    match = re.search(rf"^{name}\s*:\s*(.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return match[1] if match else ""


def interleave(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every way once a round, each round beginning with another way, so that none has the machine's best moments.

    Returns:
        The values that each way returned, one a round.
    """
    names = list(ways)
    values: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        first = round_ % len(names) if names else 0
        for name in names[first:] + names[:first]:
            values[name].append(ways[name]())
            print(f"round {round_ + 1}/{rounds}  {name}: {number(values[name][-1])}", file=sys.stderr, flush=True)
    return values


def publish(result: Result) -> None:
    """Print the result as a table; write it to ``results/NAME.json`` and draw it as ``results/NAME.png``."""
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    print_result(result)
    RESULTS.mkdir(exist_ok=True)
    content = _as_json(result) | {"measured_at": measured_at, "machine": describe_machine()}
    (RESULTS / f"{result.name}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    draw(result, RESULTS / f"{result.name}.png")


def print_result(result: Result) -> None:
    """The table on standard output."""
    # In a pipe rich assumes 80 columns, which the notes do not fit.
    console = Console(width=None if sys.stdout.isatty() else 150)
    with_spread = any(len(row.rounds) > 1 for row in result.rows)
    with_ratio = any(result.advantage(row) is not None for row in result.rows if not row.ours)
    with_memory = any(row.peak_memory_mb is not None for row in result.rows)
    with_note = any(row.note for row in result.rows)
    console.print(f"\n[bold]{result.title}[/]")
    table = Table()
    table.add_column("way")
    table.add_column(result.unit, justify="right", no_wrap=True)
    if with_spread:
        table.add_column("min … max", justify="right", no_wrap=True)
    if with_ratio:
        table.add_column("ours is", justify="right", no_wrap=True)
    if with_memory:
        table.add_column("peak MB", justify="right", no_wrap=True)
    if with_note:
        table.add_column("note")
    for row in result.rows:
        advantage = result.advantage(row)
        cells = [
            row.label,
            "-" if row.median is None else number(row.median),
            *([_spread(row)] if with_spread else []),
            *([("" if advantage is None or row.ours else f"{number(advantage)} x")] if with_ratio else []),
            *([("" if row.peak_memory_mb is None else f"{row.peak_memory_mb:,.0f}")] if with_memory else []),
            *([row.note] if with_note else []),
        ]
        table.add_row(*cells, style="bold green" if row.ours else None)
    console.print(table)
    for aim in result.aims:
        verdict = "[yellow]open[/]" if math.isnan(aim.measured) else "[green]met[/]" if aim.met else "[red]missed[/]"
        sign = "≤" if aim.at_most else "≥"
        console.print(f"{verdict}  {aim.text}: {number(aim.measured)} (wanted {sign} {aim.wanted:g})")
    for name, value in result.facts.items():
        console.print(f"[dim]{name}: {value}[/]")


def _spread(row: Row) -> str:
    return f"{number(min(row.rounds))} … {number(max(row.rounds))}" if len(row.rounds) > 1 else ""


def number(value: float) -> str:
    """Three significant digits, thousands set off; ``not measured`` for NaN."""
    if math.isnan(value):
        return "not measured"
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def draw(result: Result, path: Path) -> None:
    """Horizontal bars of the medians with a dot for each round; our way stands out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(reversed(result.rows))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.42 * len(rows)), layout="constrained")
    values = [row.median or 0.0 for row in rows]
    highest = max([*values, *(value for row in rows for value in row.rounds)], default=0) or 1.0
    axes.barh(range(len(rows)), values, height=0.62, color=["#1b7f5c" if row.ours else "#b4bcc4" for row in rows])
    for position, row in enumerate(rows):
        axes.plot(row.rounds, [position] * len(row.rounds), "o", color="#2f3b45", markersize=3, alpha=0.7)
        text = "not run" if row.median is None else number(row.median)
        end = max([row.median or 0.0, *row.rounds])
        axes.text(
            end + highest * 0.012, position, text, va="center", fontsize=9, fontweight="bold" if row.ours else "normal"
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=9)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.ours else "normal")
    axes.set_xlim(0, highest * 1.12)
    better = "less is better" if result.lower_is_better else "more is better"
    axes.set_xlabel(f"{result.unit} ({better}; bar: median, dots: rounds)", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.suptitle(result.title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _as_json(result: Result) -> dict[str, object]:
    return {
        "name": result.name,
        "title": result.title,
        "unit": result.unit,
        "lower_is_better": result.lower_is_better,
        "rows": [
            {
                "label": row.label,
                "median": _rounded(row.median),
                "rounds": [_rounded(value) for value in row.rounds],
                "ours_is_times": _rounded(result.advantage(row)),
                "peak_memory_mb": None if row.peak_memory_mb is None else round(row.peak_memory_mb),
                "note": row.note,
                "ours": row.ours,
            }
            for row in result.rows
        ],
        "aims": [
            {
                "text": aim.text,
                "measured": _rounded(aim.measured),
                "wanted": aim.wanted,
                "at_most": aim.at_most,
                "met": aim.met,
            }
            for aim in result.aims
        ],
        "facts": result.facts,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.5g}")
