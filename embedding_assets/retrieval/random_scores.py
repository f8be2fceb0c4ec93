"""How chunks picked at random score with a question, and which least score follows from that."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from embedding_assets.retrieval.answer import FEWEST_AT_RANDOM, RandomScores
from embedding_assets.retrieval.common_scale import distances

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.retrieval.answer import Answer
    from embedding_assets.spaces import SpaceColumn

_SPREADS: Final = 3
"""Standard deviations above the mean that one in 741 scores of a normal distribution exceeds."""


def random_scores(vector: NDArray[np.float32], others: NDArray[np.float32], column: SpaceColumn) -> RandomScores | None:
    """The scores of vectors picked at random with that of a question; None if there are too few of them.

    Args:
        vector: of the question, shape (dimensions,).
        others: shape (n, dimensions).
        column: the space of all of them.
    """
    found = [distance for distance in distances(vector, others, column.similarity).tolist() if math.isfinite(distance)]
    if len(found) < FEWEST_AT_RANDOM:
        return None
    scores = [column.score(distance) for distance in found]
    return RandomScores(statistics.fmean(scores), statistics.stdev(scores), len(scores))


def high_score(scores: RandomScores) -> float:
    """The score from which on a chunk is clearly nearer than chunks picked at random, up to two digits behind the dot.

    It is no bound of what answers: in a table that is about one thing, all chunks are near.
    """
    return math.ceil(100 * (scores.mean + _SPREADS * scores.spread)) / 100


@dataclass(frozen=True, slots=True)
class BestScore:
    """The best score of an answer.

    Attributes:
        space: in which it was asked.
        score: the best.
        is_low: whether it is not clearly higher than those of chunks picked at random; None if they are not known.
    """

    space: str
    score: float
    is_low: bool | None


def best_score(answer: Answer) -> BestScore | None:
    """The best score of an answer; None if none of its results has one."""
    scored = [(result.score, result.space) for result in answer if result.score is not None]
    if not scored:
        return None
    score, space = max(scored)
    return BestScore(space, score, None if answer.random_scores is None else score < high_score(answer.random_scores))


def stands_out(answer: Answer) -> bool:
    """Whether any result scores clearly higher than chunks picked at random, as far as those are known."""
    best = best_score(answer)
    return best is not None and best.is_low is False
