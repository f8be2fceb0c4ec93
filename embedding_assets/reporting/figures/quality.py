"""How good answers to judged questions are, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embedding_assets.formatting import printable
from embedding_assets.reporting.figures.glance import LEFT, RIGHT, dot, ends, glance, limit, line, note, scale
from embedding_assets.reporting.figures.picture import BLUE, INK, SERIES, Picture, of_limit
from embedding_assets.reporting.figures.style import DEFAULT_SIZE, dates_below, draw, legend_below_title, threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embedding_assets.postgres.quality import QualityMeasurement

_NOTHING: Final = "Nothing yet: materialize retrieval_quality to measure"
_CAPTION: Final = (
    "What the judged questions of EMBEDDING_EVALUATION_QUERIES reach when they are asked as searches are by default. "
    "Full dots are what later ones were compared with. Between measurements by other questions no line is drawn: they "
    "cannot be compared."
)
_MOST_POINTS: Final = 20


def quality_figure(history: Sequence[QualityMeasurement], *, size: tuple[int, int] = DEFAULT_SIZE) -> Picture:
    """nDCG@10 with its interval, MRR and recall, over time.

    Args:
        history: of one way to ask, oldest first.
        size: in CSS pixels.
    """
    if not history:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        from matplotlib.dates import date2num

        times = [float(date2num(one.measured_at)) for one in history]  # type: ignore[no-untyped-call]
        recall = f"recall@{history[-1].recall_k}"
        for n, (first, last) in enumerate(_same_questions(history)):
            part, at = history[first:last], times[first:last]
            low, high = [one.ndcg_low for one in part], [one.ndcg_high for one in part]
            axes.fill_between(at, low, high, color=BLUE, alpha=0.22, linewidth=0, label=None if n else "95% confidence")
            lines = (("nDCG@10", [one.ndcg for one in part], BLUE, 2.0), ("MRR", [one.mrr for one in part], INK, 1.0))
            for label, values, colour, width in (*lines, (recall, [one.recall for one in part], SERIES[2], 1.0)):
                axes.plot(at, values, color=colour, linewidth=width, label=None if n else label)
            for accepted in (True, False):
                shown = [i for i, one in enumerate(part) if one.accepted == accepted]
                axes.scatter(
                    [at[i] for i in shown],
                    [part[i].ndcg for i in shown],
                    s=26,
                    facecolors=BLUE if accepted else "white",
                    edgecolors=BLUE,
                    zorder=3,
                )
        baseline = _baseline(history)
        if baseline is not None:
            threshold(axes, baseline, f"accepted {baseline:.3f}", is_held=history[-1].ndcg >= baseline)
        margin = max((times[-1] - times[0]) * 0.04, 0.25)
        axes.set_xlim(times[0] - margin, times[-1] + margin)
        axes.set_ylim(0, 1)
        dates_below(axes, "measured (UTC)")
        axes.set_ylabel("mean over the questions")
        legend_below_title(axes)
        axes.set_title(_title(history))
        return f"Quality of answers over time; {_title(history)}"

    return draw(paint, size, _CAPTION)


def quality_glance(history: Sequence[QualityMeasurement]) -> Picture:
    """nDCG@10 of the latest measurements by the same questions, and the accepted one."""
    if not history:
        return note(_NOTHING)
    first, last = _same_questions(history)[-1]
    shown = history[first:last][-_MOST_POINTS:]
    baseline = _baseline(history)
    y = scale(0, 1)
    step = (RIGHT - LEFT - 8) / max(1, len(shown) - 1)
    points = [(round(LEFT + 4 + n * step), y(one.ndcg)) for n, one in enumerate(shown)]
    curve = [line(points, BLUE)] if len(points) > 1 else []
    title = [(f"nDCG@10 {shown[-1].ndcg:.3f}", BLUE)]
    colour = of_limit(is_held=baseline is None or shown[-1].ndcg >= baseline)
    title += [(f", accepted {baseline:.3f}", colour)] if baseline is not None else []
    dates = ends(f"{shown[0].measured_at:%Y-%m-%d}", f"{shown[-1].measured_at:%Y-%m-%d}" if len(shown) > 1 else "")
    parts = [*curve, dot(*points[-1], BLUE), limit(y(baseline), colour) if baseline is not None else "", dates]
    return glance(title, parts, [*curve, dot(*points[-1], BLUE)])


def _same_questions(history: Sequence[QualityMeasurement]) -> list[tuple[int, int]]:
    """Where stretches of measurements by the same questions begin and end."""
    starts = [n for n in range(len(history)) if not n or history[n].question_set != history[n - 1].question_set]
    return list(zip(starts, [*starts[1:], len(history)], strict=True))


def _baseline(history: Sequence[QualityMeasurement]) -> float | None:
    """What the latest is compared with."""
    alike = [one for one in history if one.question_set == history[-1].question_set and one.accepted]
    return alike[-1].ndcg if alike else None


def _title(history: Sequence[QualityMeasurement]) -> str:
    latest = history[-1]
    return f"the latest nDCG@10 is {latest.ndcg:.3f} ({latest.questions:,} questions, {printable(latest.mode)})"
