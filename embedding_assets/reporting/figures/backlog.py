"""Embedded and pending chunks, by prefix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import compact, share
from embedding_assets.reporting.figures.glance import FLOOR, WIDTH, glance, note, scale, text
from embedding_assets.reporting.figures.picture import AMBER, GREEN, RED, Picture
from embedding_assets.reporting.figures.style import DEFAULT_SIZE, draw, legend_below_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embedding_assets.postgres.prefixes import PrefixCounts

_NOTHING: Final = "Nothing yet: there are no chunks"
_CAPTION: Final = (
    "A chunk belongs to the partition of chunk_embeddings that its hash begins with. Pending chunks wait for the next "
    "run; quarantined ones failed too often: `embedding-assets failures` lists them."
)
_PARTS: Final = (("embedded", GREEN), ("pending", AMBER), ("quarantined", RED))
_MOST_BARS: Final = 32


def backlog_figure(
    prefixes: Sequence[PrefixCounts], *, when: str = "", size: tuple[int, int] = DEFAULT_SIZE
) -> Picture:
    """Chunks of each prefix, stacked: embedded, pending, quarantined.

    Args:
        prefixes: in order, 16 or 256 of them.
        when: they were counted, where that is not now, e.g. ``before the run``.
        size: in CSS pixels.
    """
    chunks = sum(counts.chunks for counts in prefixes)
    if not chunks:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        bottom = [0] * len(prefixes)
        for name, colour in _PARTS:
            heights = [getattr(counts, name) for counts in prefixes]
            if not any(heights):
                continue
            top = [low + height for low, height in zip(bottom, heights, strict=True)]
            label = f"{sum(heights):,} {name}"
            if len(prefixes) <= _MOST_BARS:
                axes.bar(range(len(prefixes)), heights, bottom=bottom, width=0.82, color=colour, label=label)
            else:  # one outline instead of hundreds of bars
                edges = [position - 0.5 for position in range(len(prefixes) + 1)]
                axes.stairs(top, edges, baseline=bottom, fill=True, color=colour, linewidth=0, label=label)
            bottom = top
        step = max(1, len(prefixes) // 16)
        axes.set_xticks(range(len(prefixes))[::step], [counts.prefix for counts in prefixes][::step])
        axes.set_xlim(-0.6, len(prefixes) - 0.4)
        axes.set_xlabel("prefix of chunk_hash: one partition each")
        axes.set_ylabel("chunks")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        legend_below_title(axes)
        embedded = sum(counts.embedded for counts in prefixes)
        before = f"{when[:1].upper()}{when[1:]}: " if when else ""
        axes.set_title(f"{before}{share(embedded, chunks)} of {chunks:,} chunks {'' if when else 'are '}embedded")
        return f"Chunks by prefix{f', {when}' if when else ''}: {embedded:,} of {chunks:,} are embedded"

    return draw(paint, size, _CAPTION)


def backlog_glance(prefixes: Sequence[PrefixCounts], *, when: str = "") -> Picture:
    """The same by the first character of the prefix."""
    groups: dict[str, list[int]] = defaultdict(lambda: [0] * len(_PARTS))
    for counts in prefixes:
        for i, (name, _) in enumerate(_PARTS):
            groups[counts.prefix[:1]][i] += getattr(counts, name)
    totals = [sum(group[i] for group in groups.values()) for i in range(len(_PARTS))]
    if not any(totals):
        return note(_NOTHING)
    # Not to more than 40 pixels: a table of few chunks may have them all under one character.
    step = min(WIDTH // len(groups), 40)
    y = scale(0, max(sum(group) for group in groups.values()))
    parts = []
    for i in reversed(range(len(_PARTS))):  # each covers the lower part of the one before
        if totals[i]:
            tops = "".join(f"V{y(sum(group[: i + 1]))}h{step}" for group in groups.values())
            parts.append(f"<path fill='{_PARTS[i][1]}' d='M0 {FLOOR}{tops}V{FLOOR}z'/>")
    title = [(f"{when[:1].upper()}{when[1:]}: ", "")] if when else []
    title += [(f"{share(totals[0], sum(totals))} of {compact(sum(totals))} embedded", GREEN)]
    title += [(f", {compact(totals[i])} {_PARTS[i][0]}", _PARTS[i][1]) for i in (1, 2) if totals[i]]
    extent = f" textLength='{step * (len(groups) - 1) + 8}'" if len(groups) > 1 else ""
    return glance(title, [*parts, text(step // 2 - 4, 89, "".join(groups), extent)], parts)
