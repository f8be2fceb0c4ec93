"""The catalogue of checks, and verdicts made from it."""

from dataclasses import replace

import pytest

from embedding_assets.health import columns, costs, documents, embeddings, index, quality
from embedding_assets.health.checks import CHECKS, RECALL, Check
from embedding_assets.health.verdict import Verdict, over_spaces


def test_names_are_unique_and_those_of_the_functions_that_judge():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) == 18
    modules = (columns, documents, embeddings, index, costs, quality)
    for name in names:
        [function] = [getattr(module, name) for module in modules if hasattr(module, name)]
        assert callable(function)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_each_says_what_holds_and_what_to_do(check: Check):
    for words in (check.states, check.remedy, check.cost):
        assert words == words.strip()
        assert not words.endswith(".")
    assert check.states[0].isupper() or check.states.startswith(("recall@10", "nDCG@10", "pgvector"))
    assert check.description.startswith(f"{check.states}.")
    assert len(check.states.split()) <= 15, "it stands in a narrow column"
    assert check.verdict(False, "found").description == f"found. {check.remedy}"
    if check.blocking:
        assert check.severity == "error", "Dagster blocks for errors alone"


def test_a_verdict_says_what_to_do_only_when_the_check_failed():
    passed = RECALL.verdict(True, "recall@10 is 1", {"recall": 1.0})
    assert passed == Verdict("recall", "warning", True, "recall@10 is 1", {"recall": 1.0})
    assert not passed.is_error
    failed = RECALL.verdict(False, "recall@10 is 0.5")
    assert failed.description == f"recall@10 is 0.5. {RECALL.remedy}"
    assert not failed.is_error, "a warning"
    assert RECALL.verdict(False, "low", remedy="Wait").description == "low. Wait"


def test_the_verdict_on_several_spaces():
    good = Verdict("index_valid", "error", True, "index a is valid", {"size_bytes": 1})
    also = replace(good, description="index b is valid", numbers={"size_bytes": 2})
    bad = Verdict("index_valid", "error", False, "index b is invalid", {"size_bytes": 2})
    assert bad.is_error
    assert over_spaces({"one": good}) == good
    assert over_spaces({"one": bad}) == replace(bad, description="space one: index b is invalid")
    assert over_spaces({"one": good, "two": also}) == replace(
        good, description="space one: index a is valid; space two: index b is valid"
    )
    assert over_spaces({"one": good, "two": bad}) == Verdict(
        "index_valid", "error", False, "space two: index b is invalid", {"size_bytes": 1}
    )
