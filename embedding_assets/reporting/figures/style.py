"""Style of the figures: colours, type, axes, and their SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from embedding_assets.reporting.figures.picture import INK, INK_ON_DARK, Picture, of_limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFAULT_SIZE: Final = (640, 320)
"""Width and height in CSS pixels."""

_PIXELS_PER_INCH: Final = 96

_STYLE: Final = {
    "svg.fonttype": "none",  # text stays text, at a fifth of the size of its outlines
    "svg.hashsalt": "embedding_assets",  # the same figure twice is the same file
    "path.simplify": False,  # it would leave out lines without length, which are the dots of the map
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so a figure is laid out alike everywhere
    "font.size": 9,
    "text.parse_math": False,  # a $ is a dollar
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 22,  # leaves a row for the legend
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 8.5,
}


_INK_STYLE: Final = f"<style>svg{{color:{INK}}}@media(prefers-color-scheme:dark){{svg{{color:{INK_ON_DARK}}}}}</style>"


def draw(paint: Callable[[Axes], str], size: tuple[int, int], caption: str) -> Picture:
    """Paint on fresh axes and keep the outcome as SVG.

    Args:
        paint: draws on the axes and returns the words that stand for the picture.
        size: width and height in CSS pixels.
        caption: how to read the picture.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Figure without pyplot: that keeps figures in the process and asks for a display.
    with mpl.rc_context(_STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        # Text stays text: the reader's fonts have what is missing here, where it is only measured.
        warnings.filterwarnings("ignore", r"Glyph \d+|Matplotlib currently does not support", UserWarning)
        figure = Figure(figsize=(size[0] / _PIXELS_PER_INCH, size[1] / _PIXELS_PER_INCH), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
        axes.tick_params(length=0)
        words = paint(axes)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", dpi=2 * _PIXELS_PER_INCH, metadata={"Date": None})
    return Picture(_tidy(stream.getvalue().decode()), words, caption)


def threshold(axes: Axes, value: float, label: str, *, is_held: bool) -> None:
    """A dashed line at a limit, named above its right end."""
    colour = of_limit(is_held=is_held)
    axes.axhline(value, color=colour, linewidth=1.2, linestyle=(0, (5, 3)))
    axes.annotate(
        label, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
        ha="right", va="bottom", color=colour, fontsize=8.5,
    )  # fmt: skip


def dates_below(axes: Axes, label: str) -> None:
    """An axis of time, with as many dates as fit."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel(label)


def legend_below_title(axes: Axes) -> None:
    """The names of what is drawn, in a row between the title and the axes."""
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(-0.012, 0.985), ncols=4, columnspacing=1.4, handlelength=1.2,
        handletextpad=0.5, borderpad=0.2,
    )  # fmt: skip
    legend.set_in_layout(False)  # a long one must not squeeze the axes


def _tidy(svg: str) -> str:
    """Without what a browser does not need, and in the reader's own font."""
    svg = svg[svg.index("<svg") :].replace("'DejaVu Sans'", "system-ui, sans-serif")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    head, end, rest = svg.partition(">")
    svg = f"{head}{end}{_INK_STYLE}{rest}".replace(f": {INK}", ": currentColor")
    # Only within tags: a number among the words stays as it is.
    return re.sub(r"<[^>]*>", _shorten, svg)


def _shorten(tag: re.Match[str]) -> str:
    text = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", " ".join(tag[0].split()))
    text = re.sub(r"(\.\d\d)\d+", r"\1", text)  # hundredths of a point will do
    return re.sub(r"M (-?[\d.]+ -?[\d.]+) L \1 (?=[M\"])", r"M\1h0", text)
