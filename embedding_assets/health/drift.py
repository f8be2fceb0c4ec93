"""Whether what was loaded in a week is about other things than what was there, as far as mean vectors tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.spaces import serving_space
from embedding_assets.postgres.weeks import read_weeks

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.weeks import Week

MOST_VECTORS: Final = 5_000
"""That are read, of all weeks together."""

_DRAWS: Final = 200
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class WeekDrift:
    """How the chunks of a week lie to those of the weeks before it.

    Attributes:
        monday: on which the week begins in UTC; None for all the time before the first.
        chunks: with a vector, of documents that were new or last changed then.
        documents: how many.
        sampled: vectors that were read.
        cosine: of their mean to the mean of all that was loaded earlier; None where nothing was.
        lowest_drawn: the lowest cosine between the means of as many documents each, drawn from both together, in 200
            draws; None as ``cosine``.
    """

    monday: date | None
    chunks: int
    documents: int
    sampled: int
    cosine: float | None
    lowest_drawn: float | None

    @property
    def differs(self) -> bool:
        """Whether the week lies farther from the earlier ones than chance explains."""
        return self.cosine is not None and self.lowest_drawn is not None and self.cosine < self.lowest_drawn


@dataclass(frozen=True, slots=True)
class Drift:
    """The weeks of a space, oldest first.

    Attributes:
        space: whose vectors.
        weeks: in which documents were loaded.
        undated: chunks with a vector of documents whose load is not recorded.
    """

    space: str
    weeks: tuple[WeekDrift, ...]
    undated: int


def measure_drift(database: Database, weeks: int) -> Drift:
    """The last weeks in the space that serves searches.

    Raises:
        ConfigurationError: nothing was embedded yet, scores in the space are no cosines, or the table is the user's:
            when its rows came is not known.
    """
    if not database.table.is_own:
        raise ConfigurationError(
            f"when the rows of {database.table} came is not known, so there are no weeks to compare; drift is shown "
            "for knowledge_base only"
        )
    column = serving_space(database)
    if column is None:
        raise ConfigurationError("nothing was embedded yet; run `embedding-assets embed` first")
    if not column.scores_cosines:
        raise ConfigurationError(
            f"space {column.space.name} compares vectors by {column.similarity} and not by a cosine, which is what "
            "drift is measured by"
        )
    found, undated = read_weeks(database, column, weeks=weeks, vectors=MOST_VECTORS)
    return Drift(column.space.name, tuple(compare_weeks(found)), undated)


def compare_weeks(weeks: Sequence[Week]) -> list[WeekDrift]:
    """Each week's mean vector beside that of all weeks before, each of which adds as it has chunks."""
    draws = np.random.default_rng(_SEED)
    found = []
    for number, week in enumerate(weeks):
        earlier = [one for one in weeks[:number] if len(one.vectors)]
        cosine = lowest_drawn = None
        if earlier and len(week.vectors):
            cosine, lowest_drawn = _compare(week, earlier, draws)
        found.append(WeekDrift(week.monday, week.chunks, week.documents, len(week.vectors), cosine, lowest_drawn))
    return found


def _compare(week: Week, earlier: Sequence[Week], draws: np.random.Generator) -> tuple[float | None, float | None]:
    """The cosine of both means, and the lowest one of means of documents that were drawn."""
    # Sums point where means do. Whole documents are drawn, since the chunks of one resemble each other.
    new, old = _by_document(week), np.concatenate([_by_document(one) for one in earlier])
    both = np.concatenate([new, old])
    alike = np.full(len(both), 1 / len(both))
    drawn = (draws.multinomial(len(part), alike, size=_DRAWS) @ both for part in (new, old))
    cosines = [_cosine(one, other) for one, other in zip(*drawn, strict=True)]
    lowest = min((cosine for cosine in cosines if cosine is not None), default=None)
    return _cosine(new.sum(axis=0), old.sum(axis=0)), lowest


def _by_document(week: Week) -> NDArray[np.float64]:
    """The sum of each document's vectors, shape (documents, dimensions), with the weight of the chunks not read."""
    numbers = {origin: number for number, origin in enumerate(dict.fromkeys(week.origins))}
    sums = np.zeros((len(numbers), week.vectors.shape[1]))
    np.add.at(sums, [numbers[origin] for origin in week.origins], week.vectors)
    return sums * (week.chunks / len(week.vectors))


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths > 0 else None
