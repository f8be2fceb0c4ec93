"""Metrics of rankings, by trec_eval's own code, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ConfigurationError

NDCG: Final = "ndcg@10"
MRR: Final = "mrr"

_RESAMPLES: Final = 2000
_AT_ONCE: Final = 200
_LOW, _HIGH = 2.5, 97.5


def recall_at(k: int) -> str:
    """The name of the recall among the first ``k``."""
    return f"recall@{k}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions, and the 95% interval of it.

    The interval is what the mean varies by if other questions of the same kind had been asked: the percentile bootstrap
    (Efron, 1979, doi:10.1214/aos/1176344552), 2,000 resamples.
    """

    value: float
    low: float
    high: float


def measure(
    rankings: Mapping[str, Sequence[str]], grades: Mapping[str, Mapping[str, int]], *, k: int = 10
) -> dict[str, dict[str, float]]:
    """Metric → question → value.

    nDCG@10 with the grade as gain and log2(rank + 1) as discount, the reciprocal rank of the first unit that answers,
    and the share of those that are among the first 10, and ``k``; each as trec_eval computes it.

    Args:
        rankings: question → units found, best first.
        grades: question → unit → grade; units without one do not answer.
        k: of a further recall.

    Raises:
        ConfigurationError: the library is not installed.
    """
    evaluator = _library().RelevanceEvaluator(
        {question: dict(judged) for question, judged in grades.items()}, {"ndcg_cut.10", "recip_rank", f"recall.10,{k}"}
    )
    # By falling scores: of equal ones trec_eval would go by the units' names.
    run = {
        question: {unit: float(len(found) - rank) for rank, unit in enumerate(found)}
        for question, found in rankings.items()
    }
    values = evaluator.evaluate(run)
    names = {NDCG: "ndcg_cut_10", MRR: "recip_rank", **{recall_at(at): f"recall_{at}" for at in sorted({10, k})}}
    return {
        # A question that finds nothing is not in the library's answer.
        name: {question: float(values.get(question, {}).get(theirs, 0.0)) for question in rankings}
        for name, theirs in names.items()
    }


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of a metric over questions, with its interval; the same values give the same one."""
    array = np.asarray(values, dtype=np.float64)
    low, high = np.percentile(_resampled_means(array), [_LOW, _HIGH])
    return Estimate(float(array.mean()), float(low), float(high))


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> Estimate:
    """The mean change, question by question, with its interval; of the questions that both have.

    Paired: what makes a question hard is in both, and cancels out.
    """
    common = sorted(before.keys() & after.keys())
    return estimate([after[question] - before[question] for question in common])


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    count = len(values)
    parts = [
        values[generator.integers(0, count, (_AT_ONCE, count))].mean(axis=1) for _ in range(_RESAMPLES // _AT_ONCE)
    ]
    means: NDArray[np.float64] = np.concatenate(parts)
    return means


def _library() -> Any:
    try:
        import pytrec_eval
    except ImportError:
        raise ConfigurationError(
            "evaluating needs a package that is not installed; run: pip install 'embedding-assets[evaluate]'"
        ) from None
    return pytrec_eval
