"""From a question to its answer: enough different texts, near enough, with all that a reader is to know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from embedding_assets.errors import ConfigurationError, ProviderUnavailableError
from embedding_assets.formatting import counted
from embedding_assets.models import embedded_text
from embedding_assets.postgres.search import find_neighbours, has_positions
from embedding_assets.retrieval.answer import Answer, Neighbour, Place, RandomScores, SearchResult
from embedding_assets.retrieval.distinct import Group, fold
from embedding_assets.retrieval.random_scores import random_scores
from embedding_assets.retrieval.sides import Asked, Sides
from embedding_assets.retrieval.snippet import snippet_of
from embedding_assets.retrieval.wording import has_words, names_something, note_on_no_match

if TYPE_CHECKING:
    from embedding_assets.postgres.search import FoundChunk
    from embedding_assets.retrieval.known import Known
    from embedding_assets.retrieval.question import Question
    from embedding_assets.spaces import SpaceColumn

_SPARE: Final = 5
"""Chunks asked for beyond those wanted, so that a few equal texts need no second search."""

_MOST_CHUNKS: Final = 4000
"""Chunks read for one answer, of however few different texts."""

_MOST_RERANKED: Final = 200
"""Results that are reranked where more are wanted than are configured."""

_FEW: Final = 3
"""Different texts that hold every word of a question at most, where its words are rare."""

_COUNTED: Final = 20
"""Chunks among which these are counted at least, however few answers are wanted."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    groups: Sequence[Group]
    notes: tuple[str, ...]


class Answering:
    """One question to one table."""

    def __init__(self, question: Question, known: Known) -> None:
        self._question = question
        self._known = known
        self._mode = question.mode or known.settings.search.mode
        self._sides = Sides(question, self._mode, known)

    def run(self) -> Answer:
        """The answer.

        Raises:
            ConfigurationError: what is asked for cannot be had under these settings, or of this table.
            ProviderError: the question cannot be embedded, or the reranker answers what is none.
        """
        question = self._question
        if question.min_score is not None and self._mode == "text":
            raise ConfigurationError("a least score needs vectors, which mode text does not look at; leave one of them")
        reranker = self._known.reranker() if question.rerank else None
        asked = self._sides.ask()
        gathered = self._gather(asked, max(question.k, self._reranked) if reranker else question.k)
        results = [self._result(group, asked.column) for group in gathered.groups]
        notes = [*self._notes_of_question(), *asked.notes, *gathered.notes, *self._notes_of_coverage(asked)]
        if reranker is not None:
            results, outage = self._rerank(results)
            notes += outage
        notes += self._notes_of_words(results, is_explained=bool(notes))
        results = results[: question.k]
        if question.context and results:
            results, missing = self._with_context(results)
            notes += missing
        return Answer(tuple(results), tuple(dict.fromkeys(notes)), self._mode, self._random_scores(asked))

    @property
    def _reranked(self) -> int:
        return max(self._known.settings.rerank.candidates, min(self._question.k, _MOST_RERANKED))

    def _gather(self, asked: Asked, wanted: int) -> _Gathered:
        """As many different texts as are wanted, if there are as many that are near enough."""
        limit = wanted + max(_SPARE, wanted // 4)
        if self._question.min_score is not None and self._mode == "hybrid":
            limit = max(limit, _COUNTED)
        while True:
            portion = self._sides.find(asked, limit)
            groups = fold(portion.chunks)
            exempts = self._exempts(groups)
            kept = [
                group
                for group in groups
                if self._is_near(group.best, asked.column)
                or group.best.is_named
                or (exempts and group.best.holds_all_words)
            ]
            ends = portion.is_complete or limit >= _MOST_CHUNKS
            if len(kept) >= wanted or ends or self._is_none_nearer(portion.chunks, asked.column):
                break
            limit = min(_MOST_CHUNKS, 4 * limit)
        notes = list(portion.notes)
        if low := sum(not self._is_near(group.best, asked.column) for group in kept[:wanted]):
            least = f"{self._question.min_score:g}"
            notes.append(f"{counted(low, 'hit')} kept despite a score below {least}, for holding what was asked for")
        if (far := len(groups) - len(kept)) and len(kept) < wanted:
            notes.append(f"{counted(far, 'hit')} with a score below {self._question.min_score:g} left out")
        elif len(kept) < wanted and not portion.is_complete:
            notes.append(f"the {_MOST_CHUNKS:,} best rows have only {counted(len(kept), 'different text')}")
        return _Gathered(kept[:wanted], tuple(notes))

    def _exempts(self, groups: Sequence[Group]) -> bool:
        """Whether texts that hold every word of the question need no score.

        They are few, or an identifier is among the words: "keys" alone makes no text an answer.
        """
        holding = sum(group.best.holds_all_words for group in groups)
        return 0 < holding <= _FEW or names_something(self._question.plain_text)

    def _is_near(self, chunk: FoundChunk, column: SpaceColumn | None) -> bool:
        """Whether a chunk scores as high as is asked."""
        least = self._question.min_score
        if least is None:
            return True
        score = _score(chunk, column)
        return score is not None and score >= least

    def _is_none_nearer(self, chunks: Sequence[FoundChunk], column: SpaceColumn | None) -> bool:
        """Whether all chunks that score as high as is asked are among these: the first too far one closes the ranks."""
        if self._question.min_score is None:
            return False
        ranks = {chunk.vector_rank for chunk in chunks if chunk.vector_rank is not None}
        far = [
            chunk.vector_rank for chunk in chunks if chunk.vector_rank is not None and not self._is_near(chunk, column)
        ]
        return bool(far) and ranks.issuperset(range(1, min(far)))

    def _result(self, group: Group, column: SpaceColumn | None) -> SearchResult:
        chunk = group.best
        score = _score(chunk, column)
        return SearchResult(
            chunk_hash=chunk.chunk_hash,
            score=score,
            source=chunk.source,
            title=_title(chunk),
            context_header=chunk.headings,
            text=chunk.text,
            metadata=chunk.metadata,
            space=column.space.name if column is not None and score is not None else "",
            key=chunk.key,
            vector_rank=chunk.vector_rank,
            text_rank=chunk.text_rank,
            holds_all_words=chunk.holds_all_words,
            snippet=snippet_of(chunk.text, self._question.plain_text),
            other_places=tuple(
                Place(other.chunk_hash, other.key, other.source, _title(other), other.headings)
                for other in group.others
            ),
        )

    def _rerank(self, results: list[SearchResult]) -> tuple[list[SearchResult], list[str]]:
        """The first results in the reranker's order, and the rest behind them; unchanged while it is down."""
        first, rest = results[: self._reranked], results[self._reranked :]
        if not first:
            return results, []
        texts = [embedded_text(result.context_header, result.text) for result in first]
        try:
            scores = self._known.reranker().scores(self._question.plain_text, texts)
        except ProviderUnavailableError as outage:
            return results, [f"not reranked: {outage}"]
        scored = [replace(result, rerank_score=score) for result, score in zip(first, scores, strict=True)]
        # Of equal ones the better one by the search stays first.
        scored.sort(key=lambda result: -(result.rerank_score or 0.0))
        return scored + rest, []

    def _with_context(self, results: list[SearchResult]) -> tuple[list[SearchResult], list[str]]:
        database = self._known.database
        if not has_positions(database):
            return results, [f"no neighbours: {database.table} does not say which row stands before another"]
        around: dict[str, list[Neighbour]] = {}
        for chunk in find_neighbours(database, [result.chunk_hash for result in results], self._question.context):
            neighbour = Neighbour(chunk.distance, chunk.chunk_hash, chunk.header, chunk.text)
            around.setdefault(chunk.of_hash, []).append(neighbour)
        return [replace(result, context=tuple(around.get(result.chunk_hash, ()))) for result in results], []

    def _notes_of_question(self) -> list[str]:
        if not self._question.is_cut:
            return []
        return ["characters of the question that are no text (NUL, or bytes that are no UTF-8) are left out"]

    def _notes_of_words(self, results: Sequence[SearchResult], *, is_explained: bool) -> list[str]:
        text = self._question.plain_text
        if results:
            if has_words(text) or any(result.text_rank is not None for result in results):
                return []
            return [
                "the question has neither a letter nor a digit; few models read other signs, so this order may be any"
            ]
        if is_explained or self._mode != "text" or self._known.settings.search.language != "simple":
            return []
        note = note_on_no_match(text)
        return [note] if note else []

    def _notes_of_coverage(self, asked: Asked) -> list[str]:
        if asked.column is None:
            return []
        missing = self._known.missing(asked.column, asked.other)
        if not missing.chunks:
            return []
        found = "are not found" if self._mode == "vector" else "are found by their words alone"
        return [f"{missing} have no vector yet and {found}; `embedding-assets embed` makes them"]

    def _random_scores(self, asked: Asked) -> RandomScores | None:
        if not self._question.compare or asked.column is None or asked.vector is None:
            return None
        return random_scores(asked.vector, self._known.random_vectors(asked.column), asked.column)


def _score(chunk: FoundChunk, column: SpaceColumn | None) -> float | None:
    """The similarity of a chunk, if it has one."""
    if column is None or chunk.distance is None:
        return None
    score = column.score(chunk.distance)
    return score if math.isfinite(score) else None


def _title(chunk: FoundChunk) -> str:
    title = chunk.metadata.get("title")
    return "" if title is None else str(title)
