"""Throughput of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import by_device, counted, printable, rate
from embedding_assets.reporting.figures.glance import MOST_BARS, bars, ends, glance, limit, note, scale
from embedding_assets.reporting.figures.picture import BLUE, INK, SERIES, Picture, of_limit
from embedding_assets.reporting.figures.style import DEFAULT_SIZE, dates_below, draw, legend_below_title, threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embedding_assets.postgres.runs import PastRun

_NOTHING: Final = "Nothing yet: no run has embedded a chunk"
_CAPTION: Final = (
    "Each dot is a run, without the time to load the model; the larger, the more chunks. Small runs say more about "
    "starting up than about speed."
)


def throughput_figure(
    runs: Sequence[PastRun], floor: float | None = None, *, size: tuple[int, int] = DEFAULT_SIZE
) -> Picture:
    """Chunks per second of each run over time; larger dots for larger runs.

    Args:
        runs: oldest first.
        floor: below this the check on throughput warns.
        size: in CSS pixels.
    """
    if not runs:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        from matplotlib.dates import date2num

        times = [float(date2num(run.finished_at)) for run in runs]  # type: ignore[no-untyped-call]
        rates = [run.chunks_per_second for run in runs]
        axes.plot(times, rates, color=INK, linewidth=0.8, alpha=0.6)
        largest = max(run.embedded for run in runs) or 1
        places = [_place(run) for run in runs]
        for n, place in enumerate(dict.fromkeys(places)):
            own = [i for i, one in enumerate(places) if one == place]
            axes.scatter(
                [times[i] for i in own],
                [rates[i] for i in own],
                s=[20 + 100 * runs[i].embedded / largest for i in own],
                color=SERIES[n % len(SERIES)],
                label=place,
                zorder=3,
            )
        if floor:
            threshold(axes, floor, f"floor {floor:g}", is_held=rates[-1] >= floor)
        margin = max((times[-1] - times[0]) * 0.04, 0.25)
        axes.set_xlim(times[0] - margin, times[-1] + margin)
        axes.set_ylim(0, max([*rates, floor or 0.0]) * 1.2 or 1.0)
        dates_below(axes, "end of the run (UTC)")
        axes.set_ylabel("chunks per second")
        legend_below_title(axes)
        latest = f"{rate(runs[-1].chunks_per_second)} chunks/s {by_device(runs[-1].device, runs[-1].threads)}"
        axes.set_title(f"The latest run: {latest}")
        return f"Throughput over time; the latest run: {latest}"

    return draw(paint, size, _CAPTION)


def _place(run: PastRun) -> str:
    """Where it computed: rates of other devices, or with other threads, are no trend."""
    return printable(run.device) + (f", {counted(run.threads, 'thread')}" if run.threads else "")


def throughput_glance(runs: Sequence[PastRun], floor: float | None = None) -> Picture:
    """The latest runs as bars, oldest first, and the floor."""
    runs = runs[-MOST_BARS:]
    if not runs:
        return note(_NOTHING)
    first, latest = runs[0], runs[-1]
    title = [(f"{rate(latest.chunks_per_second)} chunks/s {by_device(latest.device)}", BLUE)]
    colour = of_limit(is_held=latest.chunks_per_second >= (floor or 0.0))
    title += [(f", the floor is {floor:g}", colour)] if floor else []
    y = scale(0, max([*(run.chunks_per_second for run in runs), floor or 0.0]))
    columns = bars([y(run.chunks_per_second) for run in runs], BLUE)
    dates = ends(f"{first.finished_at:%Y-%m-%d}", f"{latest.finished_at:%Y-%m-%d}" if len(runs) > 1 else "")
    return glance(title, [columns, limit(y(floor), colour) if floor else "", dates], [columns])
