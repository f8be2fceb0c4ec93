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
        by_chance: the lowest cosine between two means of as many vectors each, drawn from both together, in 200 draws;
            None as ``cosine``.
    """

    monday: date | None
    chunks: int
    documents: int
    sampled: int
    cosine: float | None
    by_chance: float | None

    @property
    def differs(self) -> bool:
        """Whether the week lies farther from the earlier ones than chance explains."""
        return self.cosine is not None and self.by_chance is not None and self.cosine < self.by_chance


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
        cosine = by_chance = None
        if earlier and len(week.vectors):
            cosine, by_chance = _compare(week, earlier, draws)
        found.append(WeekDrift(week.monday, week.chunks, week.documents, len(week.vectors), cosine, by_chance))
    return found


def _compare(week: Week, earlier: Sequence[Week], draws: np.random.Generator) -> tuple[float | None, float | None]:
    """The cosine of both means, and the lowest one that chance makes."""
    both = [*earlier, week]
    vectors = np.concatenate([one.vectors for one in both]).astype(np.float64)
    weights = np.concatenate([np.full(len(one.vectors), one.chunks / len(one.vectors)) for one in both])
    size = len(week.vectors)
    before = len(vectors) - size
    cosine = _cosine(vectors[before:].sum(axis=0), weights[:before] @ vectors[:before])
    weights /= weights.sum()
    # Sums point where means do.
    new, old = (draws.multinomial(count, weights, size=_DRAWS) @ vectors for count in (size, before))
    chances = [_cosine(one, other) for one, other in zip(new, old, strict=True)]
    return cosine, min((chance for chance in chances if chance is not None), default=None)


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths > 0 else None
