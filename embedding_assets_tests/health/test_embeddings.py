"""Verdicts: each check seen passing and failing."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from embedding_assets.config import BudgetConfig, EmbeddingConfig, IndexConfig
from embedding_assets.health.audit import SpaceSample
from embedding_assets.health.costs import judge_costs, limits_exceeded_by
from embedding_assets.health.embeddings import (
    judge_coverage,
    judge_hashes,
    judge_models,
    judge_quarantine,
    judge_throughput,
    judge_vectors,
)
from embedding_assets.health.index import judge_index
from embedding_assets.health.verdict import Verdict, over_spaces
from embedding_assets.postgres.backlog import Backlog
from embedding_assets.postgres.catalog import IndexState
from embedding_assets.postgres.runs import PastRun
from embedding_assets.postgres.usage.ledger import Spending
from embedding_assets.postgres.vectors import StoredVectorsReport
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE

CONFIG = EmbeddingConfig()
INDEX = IndexConfig()


def backlog(**changes: int) -> Backlog:
    counts = {"chunks": 100, "embedded": 100, "pending": 0, "waiting": 0, "quarantined": 0, "unreachable": 0}
    return Backlog(**{**counts, **changes})


def run(embedded: int, seconds: float) -> PastRun:
    return PastRun(datetime.now(UTC), embedded, 0, 0, 0, 1000, seconds, 1.0, 10**9, "cpu", "float32")


def index(**changes: object) -> IndexState:
    built = {"exists": True, "valid": True, "operator_class": "vector_cosine_ops", "m": 16, "ef_construction": 64}
    return IndexState("idx", **{**built, **changes})  # type: ignore[arg-type]


RECORD = SpaceColumn(FAKE_SPACE, "embedding", "idx_knowledge_embedding", serving=True)
NAME = FAKE_SPACE.name
RIGHT = SpaceSample(RECORD, compared=64, lowest_cosine=0.9999)
WRONG = SpaceSample(RECORD, compared=64, mismatched=tuple("abcdefg"), lowest_cosine=-0.04)
UNCHECKED = SpaceSample(RECORD, unchecked="OPENAI_API_KEY is not set")


def spending(*, run: str = "0", day: str = "0", month: str = "0") -> Spending:
    return Spending(Decimal(run), Decimal(day), Decimal(month))


def budget(**limits: object) -> BudgetConfig:
    return BudgetConfig(**{f"usd_per_{unit}": value for unit, value in limits.items()})  # type: ignore[arg-type]


CASES = [
    (judge_vectors(StoredVectorsReport(5, 0, 0, 0), 768), True, True, "5 vectors checked, all with 768 finite"),
    (judge_vectors(StoredVectorsReport(5, 0, 0, None), 768), True, True, "5 vectors checked"),
    (judge_vectors(StoredVectorsReport(0, 0, 0, 0), 768), True, True, "0 vectors checked"),
    (judge_vectors(StoredVectorsReport(5, 1, 0, 0), 768), False, True, "1 of 5 vectors are faulty: 1 of wrong length"),
    (judge_vectors(StoredVectorsReport(5, 0, 2, 0), 768), False, True, "2 zero"),
    (judge_vectors(StoredVectorsReport(5, 0, 0, 3), 768), False, True, "3 not of unit length"),
    (judge_throughput(None, CONFIG), True, False, "no run has embedded 100 chunks yet"),
    (judge_throughput(run(100, 10.0), CONFIG), True, False, "10.0 chunks/s on cpu, the floor is 10"),
    (judge_throughput(run(99, 10.0), CONFIG), False, False, "9.9 chunks/s on cpu, the floor is 10. Use a GPU"),
    (judge_throughput(run(100, 0.0), CONFIG), False, False, "0.0 chunks/s"),
    (judge_throughput(replace(run(99, 10.0), device="api"), CONFIG), False, False, "higher rate limits"),
    (judge_coverage(backlog(), CONFIG), True, False, "100 of 100 chunks are embedded (100%)"),
    (judge_coverage(backlog(chunks=0, embedded=0), CONFIG), True, False, "0 of 0"),
    (judge_coverage(backlog(embedded=99, pending=1), CONFIG), False, False, "99 of 100 chunks are embedded (99%). M"),
    (judge_coverage(backlog(embedded=99), EmbeddingConfig(coverage_floor=0.99)), True, False, "99 of 100"),
    (judge_quarantine(backlog(waiting=4)), True, False, "no chunk is quarantined"),
    (judge_quarantine(backlog(quarantined=2)), False, False, "2 chunks failed too often. List them with"),
    (judge_hashes(backlog(pending=4)), True, False, "every pending chunk lies in a partition"),
    (judge_hashes(backlog(unreachable=2)), False, False, "2 pending chunks have a chunk_hash that is not lowercase"),
    (judge_index(index(), INDEX, 5), True, True, "index idx is valid: vector_cosine_ops, m=16, ef_construction=64"),
    (judge_index(index(exists=False), INDEX, 0), True, False, "nothing is embedded yet"),
    (judge_index(index(exists=False), INDEX, 1), False, True, "index idx does not exist. Materialize"),
    (judge_index(index(valid=False), INDEX, 1), False, True, "index idx is invalid: a build of it failed"),
    (judge_index(index(m=8), INDEX, 1), False, True, "was built with vector_cosine_ops, m=8, ef_construction=64"),
    (judge_index(index(operator_class="vector_l2_ops"), INDEX, 1), False, True, "was built with vector_l2_ops"),
    (judge_models([]), True, True, "0 vectors computed again"),
    (judge_models([RIGHT]), True, True, "64 vectors computed again, all as they are stored"),
    (judge_models([RIGHT, UNCHECKED]), True, True, f"as they are stored. space {NAME} is not checked: OPENAI_API_KEY"),
    (judge_models([RIGHT, WRONG]), False, True, f"space {NAME}: 7 of 64 vectors are not what fake/hashing makes"),
    (judge_models([WRONG]), False, True, "down to -0.04), e.g. those of a, b, c, d, e. Another model wrote"),
    (judge_models([WRONG, UNCHECKED]), False, True, "and embed again. space fake-hashing-768-"),
]  # fmt: skip


CASES += [
    (judge_costs(spending(**spent), budget(**limits)), passed, False, found)
    for spent, limits, passed, found in (
        ({"day": "0.25", "month": "3.5"}, {}, True, "no limit is set; $0.25 today, $3.50 this month (UTC)"),
        ({}, {"run": 1}, True, "$0.00 of $1.00 a run (EMBEDDING_BUDGET_USD_PER_RUN) are spent, 0%"),
        ({"day": "0.79"}, {"day": 1}, True, "$0.79 of $1.00 a day (EMBEDDING_BUDGET_USD_PER_DAY) are spent, 79%"),
        ({"run": "0.8"}, {"run": 1}, False, "80%, which resets with the next run. At a limit embedding stops"),
        ({"day": "0.8"}, {"day": 1}, False, "a day (EMBEDDING_BUDGET_USD_PER_DAY) are spent, 80%, which resets at mid"),
        (
            {"month": "2000"},
            {"day": 1, "month": 1500},
            False,
            "$2,000.00 of $1,500.00 a month (EMBEDDING_BUDGET_USD_PER",
        ),
        ({"month": "90"}, {"month": 100}, False, "90%, which resets on the first of the month (UTC)"),
        ({"day": "0.000009"}, {"day": "0.00001"}, False, "$0.000009 of $0.00001 a day"),
    )
]


@pytest.mark.parametrize(("verdict", "passed", "blocking", "found"), CASES)
def test_verdicts(verdict: Verdict, passed: bool, blocking: bool, found: str):
    assert verdict.passed is passed
    assert verdict.blocking is blocking
    assert found in verdict.description


def test_every_judge_is_seen_failing():
    names = {verdict.name for verdict, *_ in CASES}
    assert names == {verdict.name for verdict, passed, *_ in CASES if not passed}


@pytest.mark.parametrize(
    ("verdict", "numbers"),
    [
        (judge_coverage(backlog(embedded=25, pending=70), CONFIG), {"coverage": 0.25, "pending": 70}),
        (judge_quarantine(backlog(quarantined=2, waiting=3)), {"quarantined": 2, "waiting_for_retry": 3}),
        (judge_throughput(run(300, 9.0), CONFIG), {"chunks_per_second": 33.33, "floor": 10.0}),
        (judge_vectors(StoredVectorsReport(5, 1, 2, None), 768),
         {"checked": 5, "wrong_dimensions": 1, "zero": 2, "not_unit_length": 0}),
        (judge_hashes(backlog(unreachable=1)), {"unreachable": 1}),
        (judge_index(index(size_bytes=8192), INDEX, 1), {"size_bytes": 8192}),
        (judge_models([RIGHT, WRONG, UNCHECKED]),
         {"compared": 128, "mismatched": 7, "spaces_not_checked": 1, "lowest_cosine": -0.04}),
        (judge_models([UNCHECKED]), {"compared": 0, "mismatched": 0, "spaces_not_checked": 1}),
        (judge_costs(spending(run="0.1", day="0.25", month="3"), budget()),
         {"usd_this_run": 0.1, "usd_today": 0.25, "usd_this_month": 3.0}),
        (judge_costs(spending(run="0.1", day="0.25", month="3"), budget(run=1, month=4)),
         {"usd_this_run": 0.1, "usd_today": 0.25, "usd_this_month": 3.0, "used_share": 0.75}),
    ],
)  # fmt: skip
def test_numbers_behind_a_verdict(verdict: Verdict, numbers: dict[str, float]):
    assert verdict.numbers == numbers


def test_an_alert_names_only_the_limits_that_are_near():
    verdict = judge_costs(spending(run="0.9", day="0.9", month="0.9"), budget(run=1, day=10, month=1))
    assert "PER_RUN" in verdict.description
    assert "PER_MONTH" in verdict.description
    assert "PER_DAY" not in verdict.description


def test_an_alert_begins_at_the_configured_share():
    assert not judge_costs(spending(day="0.5"), BudgetConfig(usd_per_day=1, alert_share=0.5)).passed
    assert judge_costs(spending(day="0.49"), BudgetConfig(usd_per_day=1, alert_share=0.5)).passed


@pytest.mark.parametrize(
    ("usd", "spent", "limits", "passed"),
    [
        (1.0, spending(), budget(), []),
        (0.0, spending(day="3"), budget(day=2), []),
        (1.0, spending(), budget(run=1, day=1, month=1), []),
        (1.5, spending(), budget(run=1, day=2), [
            "EMBEDDING_BUDGET_USD_PER_RUN leaves $1.00; it resets with the next run",
        ]),
        (0.5, spending(day="1.75", month="9"), budget(day=2, month=9), [
            "EMBEDDING_BUDGET_USD_PER_DAY leaves $0.25; it resets at midnight UTC",
            "EMBEDDING_BUDGET_USD_PER_MONTH leaves $0.00; it resets on the first of the month (UTC)",
        ]),
        (0.5, spending(day="3"), budget(day=2), [
            "EMBEDDING_BUDGET_USD_PER_DAY leaves $0.00; it resets at midnight UTC",
        ]),
    ],
)  # fmt: skip
def test_limits_that_a_backlog_would_pass(usd: float, spent: Spending, limits: BudgetConfig, passed: list[str]):
    assert limits_exceeded_by(usd, spent, limits) == passed


def test_the_verdict_on_several_spaces():
    good = Verdict("index_valid", True, False, "index a is valid", {"size_bytes": 1})
    also = replace(good, description="index b is valid", numbers={"size_bytes": 2})
    bad = Verdict("index_valid", False, True, "index b is invalid", {"size_bytes": 2})
    assert over_spaces({"one": good}) == good
    assert over_spaces({"one": bad}) == replace(bad, description="space one: index b is invalid")
    assert over_spaces({"one": good, "two": also}) == replace(
        good, description="space one: index a is valid; space two: index b is valid"
    )
    assert over_spaces({"one": good, "two": bad}) == Verdict(
        "index_valid", False, True, "space two: index b is invalid", {"size_bytes": 1}
    )
