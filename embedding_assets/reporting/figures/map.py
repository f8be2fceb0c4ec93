"""A sample of the embeddings on a plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from embedding_assets.formatting import printable, share
from embedding_assets.reporting.figures.glance import note
from embedding_assets.reporting.figures.picture import OTHERS, SERIES, Picture
from embedding_assets.reporting.figures.style import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import PathPatch
    from numpy.typing import NDArray


MAP_SIZE: Final = 1000
"""Vectors that a map shows; more would hide each other."""

_LEGEND_CHARACTERS: Final = 22

_NOTHING: Final = "Nothing yet: a map needs a few embedded chunks"
_CAPTION: Final = (
    "The two directions in which these vectors differ most (principal components). Sources about the same things "
    "overlap; a source that lies apart from everything is worth a look."
)


def map_figure(vectors: NDArray[np.floating], sources: Sequence[str], *, size: tuple[int, int] = (640, 420)) -> Picture:
    """The embeddings coloured by where their chunks come from.

    Args:
        vectors: shape (n, dimensions). About a thousand show the shape; each takes 20 bytes.
        sources: of each vector's document; the most frequent ones have a colour of their own.
        size: in CSS pixels.

    Raises:
        ValueError: there are not as many sources as vectors.
    """
    if len(vectors) != len(sources):
        raise ValueError(f"{len(vectors)} vectors, but {len(sources)} sources")
    if len(vectors) < 3 or len((layout := project(vectors)).kept) < 3:
        return note(_NOTHING)

    def paint(axes: Axes) -> str:
        origins = [sources[i] for i in layout.kept]
        groups, rest = _groups(origins)
        for _, colour, names in [*rest, *groups]:  # the first drawn lies below
            own = np.array([origin in names for origin in origins])
            axes.add_patch(_dots(layout.points[own], colour))
        axes.autoscale_view()
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", anchor="NW")
        axes.set_xlabel(f"first direction: {share(layout.shares[0])} of the variance")
        axes.set_ylabel(f"second direction: {share(layout.shares[1])}")
        for label, colour, _ in [*groups, *rest]:
            axes.scatter([], [], s=36, color=colour, label=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.2)
        axes.set_title(f"{len(origins):,} embeddings by source: what lies close together is alike", pad=9)
        return f"Map of {len(origins):,} embeddings by source"

    return draw(paint, size, _CAPTION)


def _groups(origins: Sequence[str]) -> tuple[list[tuple[str, str, set[str]]], list[tuple[str, str, set[str]]]]:
    """Label, colour and names of the most frequent sources, and of all others together."""
    frequent = [name for name, _ in sorted(Counter(origins).items(), key=lambda item: (-item[1], item[0]))]
    shown = frequent[: len(SERIES)]
    groups = [
        (_from_its_end(_telling(name, shown)) or "no source", colour, {name})
        for name, colour in zip(shown, SERIES, strict=False)
    ]
    rest = set(frequent[len(SERIES) :])
    return groups, [(f"{len(rest):,} more", OTHERS, rest)] if rest else []


def _telling(name: str, names: Sequence[str]) -> str:
    """As much of the end of a path or an address as tells it from the others: its file name, if that is enough."""
    parts = name.rstrip("/").split("/")
    for length in range(1, len(parts)):
        end = "/".join(parts[-length:])
        if not any(other != name and f"/{other.rstrip('/')}".endswith(f"/{end}") for other in names):
            return end
    return name


def _from_its_end(name: str) -> str:
    """What fits of a name, on one line; names of one folder differ at their ends."""
    name = printable(name)
    return name if len(name) <= _LEGEND_CHARACTERS else f"…{name[1 - _LEGEND_CHARACTERS :]}"


def _dots(points: NDArray[np.float64], colour: str) -> PathPatch:
    """Lines without length and with round ends: in SVG a tenth of what a mark for each point takes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    path = Path(np.repeat(points, 2, axis=0), np.tile([Path.MOVETO, Path.LINETO], len(points)))
    return PathPatch(path, fill=False, edgecolor=colour, linewidth=3.4, alpha=0.75, capstyle="round")


@dataclass(frozen=True, slots=True)
class Projection:
    """Vectors along the two directions in which they vary most.

    Attributes:
        points: shape (n, 2).
        kept: indices of the projected rows: those that are finite.
        shares: share of the variance that each of the two directions holds.
    """

    points: NDArray[np.float64]
    kept: NDArray[np.intp]
    shares: tuple[float, float]


def project(vectors: NDArray[np.floating]) -> Projection:
    """Principal components by singular value decomposition; the same vectors always give the same picture.

    A direction's sign is arbitrary: it is chosen such that its largest component is positive.

    Args:
        vectors: shape (n, dimensions).
    """
    kept = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    rows = vectors[kept].astype(np.float64)
    if len(rows) < 2 or rows.shape[1] < 2:
        return Projection(np.zeros((len(rows), 2)), kept, (0.0, 0.0))
    centred = rows - rows.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    variances = singular**2
    total = variances.sum()
    shares = variances[:2] / total if total > 0 else np.zeros(2)
    return Projection(centred @ axes.T, kept, (float(shares[0]), float(shares[1])))
