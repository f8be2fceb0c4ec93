"""Two ways of asking, compared question by question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from embedding_assets.evaluation.metrics import NDCG, Estimate, difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from embedding_assets.evaluation.judgements import JudgedQuestion


@dataclass(frozen=True, slots=True)
class Change:
    """How one question fares."""

    id: str
    text: str = field(repr=False)
    before: float
    after: float

    @property
    def change(self) -> float:
        """More is better."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes between two ways.

    Attributes:
        differences: metric → mean change with its interval, paired by question.
        changes: questions whose nDCG@10 differs, the worst losses first.
        questions: how many were compared.
    """

    differences: Mapping[str, Estimate]
    changes: tuple[Change, ...]
    questions: int

    @property
    def better(self) -> int:
        """Questions that gain."""
        return sum(change.change > 0 for change in self.changes)

    @property
    def worse(self) -> int:
        """Questions that lose."""
        return sum(change.change < 0 for change in self.changes)

    @property
    def verdict(self) -> str:
        """What the interval of nDCG@10 allows to say."""
        found = self.differences[NDCG]
        if found.high < 0:
            return "worse"
        return "better" if found.low > 0 else "no difference that these questions could show"


def compare(
    questions: Sequence[JudgedQuestion],
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
) -> Comparison:
    """The change from one way to another, each given as metric → question → value."""
    metrics = [metric for metric in before if metric in after]
    changes = [
        Change(question.id, question.text, before[NDCG][question.id], after[NDCG][question.id])
        for question in questions
        if question.id in before[NDCG] and question.id in after[NDCG]
    ]
    differing = sorted((one for one in changes if one.before != one.after), key=lambda one: (one.change, one.id))
    return Comparison({m: difference(before[m], after[m]) for m in metrics}, tuple(differing), len(changes))
