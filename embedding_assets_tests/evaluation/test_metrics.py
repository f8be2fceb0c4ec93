"""Metrics are those of trec_eval; intervals hold what they say."""

import math
import sys

import numpy as np
import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.evaluation.metrics import MRR, NDCG, difference, estimate, measure, recall_at


def test_by_hand():
    grades = {"q": {"a": 3, "b": 1, "c": 0, "d": 1}}
    found = measure({"q": ["x", "b", "c", "a"]}, grades, k=2)
    ideal = 3 + 1 / math.log2(3) + 1 / math.log2(4)
    assert found[NDCG]["q"] == pytest.approx((1 / math.log2(3) + 3 / math.log2(5)) / ideal)
    assert found[MRR]["q"] == 0.5
    assert found[recall_at(2)]["q"] == pytest.approx(1 / 3)
    assert found[recall_at(10)]["q"] == pytest.approx(2 / 3)


def test_the_order_is_that_of_the_ranking_and_not_of_names():
    units = [f"{n:03d}" for n in range(300)]
    for order in (units, units[::-1]):
        assert measure({"q": order}, {"q": {order[4]: 1}})[MRR]["q"] == pytest.approx(1 / 5)


def test_a_question_that_finds_nothing_counts_as_nothing():
    found = measure({"q": [], "p": ["a"]}, {"q": {"a": 1}, "p": {"a": 1}})
    assert found[NDCG] == {"q": 0.0, "p": 1.0}


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(1).random(400)
    found = estimate(list(values))
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 5)
    assert estimate(list(values)) == found


def test_a_difference_is_paired():
    hard = np.random.default_rng(2).random(100)
    before = {str(n): value for n, value in enumerate(hard)}
    after = {str(n): value - 0.02 for n, value in enumerate(hard)} | {"only after": 1.0}
    found = difference(before, after)
    assert found.value == pytest.approx(-0.02)
    assert found.high < 0, "though each mean alone is less sure than that"
    assert estimate(list(before.values())).low < estimate(list(after.values())).value


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytrec_eval", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'embedding-assets\[evaluate\]'"):
        measure({}, {})
