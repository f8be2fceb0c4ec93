"""Everything that one process serves, whatever the protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from embedding_assets.retrieval.random_scores import best_score
from embedding_assets.serving.backend import Backend
from embedding_assets.serving.counting import QuestionCounts
from embedding_assets.serving.desk import Desk
from embedding_assets.serving.metrics import Metrics

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.search import NeighbouringChunk
    from embedding_assets.retrieval import Answer, Question


class Service:
    """Everything that one process serves.

    Attributes:
        backend: the database and the model.
        desk: where questions of all kinds are answered.
        metrics: what is measured.
        counts: of questions by week.
    """

    def __init__(self, settings: Settings) -> None:
        self.backend = Backend(settings)
        self.metrics = Metrics(self.backend.overview, settings.serve.metrics_seconds)
        self.desk = Desk(settings.serve, self.metrics.searches)
        self.counts = QuestionCounts(lambda: self.backend.database)

    async def ask(self, question: Question) -> Answer:
        """The answer to a question.

        Raises:
            Problem: there is none.
        """
        compared = replace(question, compare=True)
        answer = await self.desk.do(lambda: self.backend.answer(compared), self.backend.mode_of(question))
        best = best_score(answer)
        if best is not None:
            self.metrics.searches.observe_best(best)
            self.counts.add(best)
        return answer if question.compare else replace(answer, random_scores=None)

    async def neighbours(self, chunk_hash: str, most: int) -> list[NeighbouringChunk]:
        """The chunks up to ``most`` places before and after one in its document.

        Raises:
            Problem: they cannot be had.
        """
        return await self.desk.do(lambda: self.backend.neighbours(chunk_hash, most), "neighbours")

    def start(self) -> None:
        """Begin to open database and model."""
        self.backend.start()
        self.counts.start()

    def close(self) -> None:
        """End what is under way."""
        self.desk.close()
        self.counts.close()
        self.backend.close()
