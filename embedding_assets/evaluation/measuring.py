"""Asking the judged questions, and measuring the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from embedding_assets.evaluation.metrics import Estimate, estimate, measure
from embedding_assets.retrieval import Question

if TYPE_CHECKING:
    from embedding_assets.config import SearchMode
    from embedding_assets.evaluation.judgements import JudgedQuestion
    from embedding_assets.retrieval import Searcher, SearchResult

_CHUNKS_A_UNIT: Final = 5
"""Chunks that are asked for, for each unit wanted: several of them may be of one document."""

_MOST_CHUNKS: Final = 1000


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask.

    Attributes:
        space: name of the vector space.
        mode: by what chunks are ranked.
        ef_search: how thoroughly the vector index is searched.
        rerank: whether the configured reranker puts the first chunks in order.
    """

    space: str
    mode: SearchMode
    ef_search: int
    rerank: bool = False

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.mode}{', reranked' if self.rerank else ''}, ef_search {self.ef_search}, {self.space}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one way of asking reaches.

    Attributes:
        way: how it was asked.
        questions: metric → question → value.
        notes: what the answers said of themselves, each once.
    """

    way: Way
    questions: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...] = field(default=())

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Metric → mean and interval."""
        return {metric: estimate(list(values.values())) for metric, values in self.questions.items()}


def evaluate(
    searcher: Searcher,
    questions: Sequence[JudgedQuestion],
    way: Way,
    *,
    k: int = 10,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Ask every question that way, and measure the answers.

    Args:
        searcher: asks.
        questions: at least one.
        way: how.
        k: of the recall; nDCG is that of the first 10.
        on_progress: called with 1 after each question.

    Raises:
        ConfigurationError: there is no such space, or a library is not installed.
        ProviderError: a question cannot be embedded.
    """
    # Before anything is asked, which may cost: a library that is missing.
    measure({}, {}, k=k)
    rankings: dict[str, list[str]] = {}
    notes: dict[str, None] = {}
    for question in questions:
        results, said = _ask(searcher, question, way, max(k, 10))
        rankings[question.id] = question.ranking(results)
        notes |= dict.fromkeys(said)
        on_progress(1)
    grades = {question.id: question.grades() for question in questions}
    return Measured(way, measure(rankings, grades, k=k), tuple(notes))


def _ask(
    searcher: Searcher, question: JudgedQuestion, way: Way, units: int
) -> tuple[Sequence[SearchResult], tuple[str, ...]]:
    """Chunks enough for so many units, or all there are."""
    chunks = _CHUNKS_A_UNIT * units
    while True:
        answer = searcher.ask(
            Question(
                question.text,
                k=min(chunks, _MOST_CHUNKS),
                mode=way.mode,
                space=way.space,
                ef_search=way.ef_search,
                rerank=way.rerank,
            )
        )
        if len(answer) < chunks or chunks >= _MOST_CHUNKS or len(question.ranking(answer)) >= units:
            return answer, answer.notes
        chunks *= 4
