"""Measurements of answers: what is accepted, what is kept."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from embedding_assets.postgres import quality
from embedding_assets.postgres.quality import (
    QualityMeasurement,
    baseline_quality,
    latest_quality,
    list_quality,
    save_quality,
)
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE


def measurement(ndcg: float = 0.5, **changes: object) -> QualityMeasurement:
    given = {
        "space": FAKE_SPACE.name, "mode": "hybrid", "reranked": False, "ef_search": 40,
        "measured_at": datetime(2026, 1, 1, tzinfo=UTC), "question_set": "set", "questions": 2, "questions_left_out": 0,
        "judgements": 3, "judgements_unmatched": 0, "ndcg": ndcg, "ndcg_low": ndcg - 0.1, "ndcg_high": ndcg + 0.1,
        "mrr": 0.5, "mrr_low": 0.4, "mrr_high": 0.6, "recall_k": 10, "recall": 0.5, "recall_low": 0.4,
        "recall_high": 0.6, "ndcg_by_question": {"a": ndcg, "b": ndcg},
    }  # fmt: skip
    return QualityMeasurement(**{**given, **changes})


@pytest.fixture(autouse=True)
def space(database):
    return register_space(database, FAKE_SPACE)


def test_a_lower_one_is_not_what_the_next_is_compared_with(database):
    saved = [save_quality(database, measurement(ndcg)) for ndcg in (0.5, 0.49, 0.48, 0.51)]
    assert [one.accepted for one in saved] == [True, False, False, True]
    assert list_quality(database, FAKE_SPACE.name, "hybrid") == saved
    assert baseline_quality(database, saved[2]) == saved[3]
    assert latest_quality(database, "hybrid") == saved[3]
    assert save_quality(database, measurement(0.1), accept=True).accepted
    assert baseline_quality(database, saved[0]).ndcg == 0.1


@pytest.mark.parametrize("changes", [{"question_set": "other"}, {"mode": "text"}, {"reranked": True}])
def test_only_the_same_questions_asked_the_same_way_are_compared(database, changes):
    save_quality(database, measurement(0.5))
    other = measurement(0.2, **changes)
    assert baseline_quality(database, other) is None
    assert save_quality(database, other).accepted
    assert baseline_quality(database, measurement()).ndcg == 0.5


def test_old_ones_go_and_the_accepted_one_stays(database, monkeypatch):
    monkeypatch.setattr(quality, "_KEPT", 3)
    first = save_quality(database, measurement(0.9))
    for _ in range(5):
        last = save_quality(database, measurement(0.5))
    kept = list_quality(database, FAKE_SPACE.name, "hybrid")
    assert (len(kept), kept[0], kept[-1]) == (4, first, last)
    assert baseline_quality(database, last) == first


def test_none_before_the_first(database):
    assert latest_quality(database, "hybrid") is None
    assert list_quality(database, FAKE_SPACE.name, "hybrid") == []


def test_no_numbers_of_questions_in_a_repr():
    assert "ndcg_by_question" not in repr(replace(measurement(), id=3))
