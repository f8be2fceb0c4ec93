"""Measurements that are kept, to be compared with later ones."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.judgements import fingerprint
from embedding_assets.evaluation.matching import Unmatched, find_unmatched
from embedding_assets.evaluation.measuring import Measured, Way, evaluate
from embedding_assets.evaluation.metrics import MRR, NDCG, recall_at
from embedding_assets.evaluation.reading import read_questions
from embedding_assets.postgres.quality import QualityMeasurement, save_quality
from embedding_assets.postgres.spaces import list_spaces, match_space
from embedding_assets.retrieval import Searcher

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.evaluation.judgements import JudgedQuestion
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

logger = logging.getLogger(__name__)

RECALL_K = 10
"""Of the recall that is kept."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Judged questions, as many of them as may be asked.

    Attributes:
        questions: those that are asked.
        left_out: how many more there are.
        unmatched: their judgements that no chunk fits.
    """

    questions: tuple[JudgedQuestion, ...]
    left_out: int
    unmatched: tuple[Unmatched, ...]

    @property
    def question_set(self) -> str:
        """Digest of the questions that are asked, and of their judgements."""
        return fingerprint(self.questions)


def choose(database: Database, questions: Sequence[JudgedQuestion], most: int | None) -> Asked:
    """The questions to ask: all of them, or those whose ids have the lowest digests, each time the same ones."""
    chosen = tuple(questions)
    if most is not None and len(chosen) > most:
        chosen = tuple(sorted(chosen, key=lambda one: hashlib.sha256(one.id.encode()).digest())[:most])
    return Asked(chosen, len(questions) - len(chosen), tuple(find_unmatched(database, chosen)))


def configured_way(settings: Settings, database: Database) -> Way:
    """As searches are answered that say nothing of how.

    Raises:
        ConfigurationError: nothing was embedded yet.
    """
    return Way(serving_space(database).space.name, settings.search.mode, settings.index.ef_search)


def serving_space(database: Database) -> SpaceColumn:
    """The space that serves searches.

    Raises:
        ConfigurationError: nothing was embedded yet.
    """
    for column in list_spaces(database):
        if column.serving:
            return column
    raise ConfigurationError("nothing was embedded yet; run `embedding-assets embed` first")


def named_space(database: Database, name: str) -> SpaceColumn:
    """The space of that name, slug, or beginning of it.

    Raises:
        ConfigurationError: none is, or several are.
    """
    return match_space(list_spaces(database), name)


def measurement_of(measured: Measured, asked: Asked) -> QualityMeasurement:
    """A measurement as it is kept."""
    estimates = measured.estimates
    ndcg, mrr, recall = estimates[NDCG], estimates[MRR], estimates[recall_at(RECALL_K)]
    return QualityMeasurement(
        space=measured.way.space,
        mode=measured.way.mode,
        reranked=measured.way.rerank,
        ef_search=measured.way.ef_search,
        measured_at=datetime.now(UTC),
        question_set=asked.question_set,
        questions=len(asked.questions),
        questions_left_out=asked.left_out,
        judgements=sum(len(question.judgements) for question in asked.questions),
        judgements_unmatched=len(asked.unmatched),
        ndcg=ndcg.value,
        ndcg_low=ndcg.low,
        ndcg_high=ndcg.high,
        mrr=mrr.value,
        mrr_low=mrr.low,
        mrr_high=mrr.high,
        recall_k=RECALL_K,
        recall=recall.value,
        recall_low=recall.low,
        recall_high=recall.high,
        ndcg_by_question=measured.questions[NDCG],
    )


def record_quality(settings: Settings, database: Database) -> QualityMeasurement:
    """Measure the configured way of asking by the configured questions, and keep what was found.

    Raises:
        ConfigurationError: no file is configured, it is broken, or nothing was embedded yet.
        ProviderError: a question cannot be embedded.
    """
    if settings.evaluation.queries is None:
        raise ConfigurationError("EMBEDDING_EVALUATION_QUERIES names no file with judged questions")
    way = configured_way(settings, database)
    found = read_questions(settings.evaluation.queries)
    if found.drafts:
        logger.warning("%d drafts of questions are left out; no person has judged them", found.drafts)
    asked = choose(database, found.questions, settings.evaluation.questions)
    with Searcher(settings, database=database) as searcher:
        measured = evaluate(searcher, asked.questions, way, k=RECALL_K)
    return save_quality(database, measurement_of(measured, asked))
