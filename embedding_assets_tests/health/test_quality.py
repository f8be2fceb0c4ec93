"""Verdicts on answers: a fall that the questions cannot explain is reported."""

from dataclasses import replace

import pytest

from embedding_assets.health.quality import quality_drop
from embedding_assets_tests.postgres.test_quality import measurement


def pair(changes: list[float]):
    """A baseline, and a measurement in which each question's nDCG has changed by that much."""
    before = {str(n): 0.6 for n in range(len(changes))}
    after = {str(n): 0.6 + change for n, change in enumerate(changes)}
    now = 0.6 + sum(changes) / len(changes)
    return (
        replace(measurement(0.6), id=1, ndcg_by_question=before),
        replace(measurement(now), id=2, ndcg_by_question=after),
    )


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ([0.0] * 50, True),
        ([0.1] * 50, True),
        ([-0.005] * 50, True),  # less than what is allowed
        ([-0.05] * 50, False),
        ([-0.5, 0.4] * 25, True),  # chance explains it
        ([-0.5, 0.4] * 250 + [-0.5] * 100, False),
    ],
)
def test_a_fall(changes, passed):
    baseline, now = pair(changes)
    verdict = quality_drop(now, baseline, 0.01)
    assert verdict.passed == passed
    assert "after 0.600 of 2026-01-01" in verdict.description
    assert ("--accept" in verdict.description) == (not passed)
    assert verdict.numbers["drop"] == pytest.approx(-sum(changes) / len(changes), abs=1e-4)


def test_the_first_is_what_later_ones_are_compared_with():
    first = replace(measurement(0.6), id=1)
    for baseline in (None, first):
        verdict = quality_drop(first, baseline, 0.01)
        assert (verdict.passed, "which later ones are compared with" in verdict.description) == (True, True)


def test_what_was_not_asked_and_not_found_is_said():
    now = replace(measurement(0.6), questions_left_out=1200, judgements_unmatched=2)
    verdict = quality_drop(now, None, 0.01)
    assert "(1,200 more were not asked); 2 of 3 judgements fit no chunk" in verdict.description
    assert verdict.numbers["judgements_unmatched"] == 2


def test_of_one_question_nothing_is_known():
    assert quality_drop(*reversed(pair([-0.6])), 0.01).passed
