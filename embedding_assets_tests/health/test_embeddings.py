"""Verdicts on vectors, runs and the backlog: each check seen passing and failing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from embedding_assets.config import EmbeddingConfig
from embedding_assets.health.audit import SpaceSample
from embedding_assets.health.embeddings import (
    backlog_age,
    coverage,
    finite_dimensions,
    hashes_reachable,
    quarantine_empty,
    throughput,
    unit_norm,
    vectors_match_model,
)
from embedding_assets.health.verdict import Verdict
from embedding_assets.postgres.backlog import Backlog
from embedding_assets.postgres.runs import PastRun
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import FAKE_SPACE
from embedding_assets_tests.support.measurements import NOON, vector_statistics

CONFIG = EmbeddingConfig()


def backlog(**changes: int) -> Backlog:
    counts = {"chunks": 100, "embedded": 100, "pending": 0, "waiting": 0, "quarantined": 0, "unreachable": 0}
    return Backlog(**{**counts, **changes})


def run(embedded: int, seconds: float) -> PastRun:
    return PastRun(datetime.now(UTC), embedded, 0, 0, 0, 1000, seconds, 1.0, 10**9, "cpu", "float32")


COLUMN = SpaceColumn(FAKE_SPACE, "embedding", "idx_knowledge_embedding", serving=True)
NAME = FAKE_SPACE.name
RIGHT = SpaceSample(COLUMN, compared=64, lowest_cosine=0.9999)
WRONG = SpaceSample(COLUMN, compared=64, mismatched=tuple("abcdefg"), lowest_cosine=-0.04)
UNCHECKED = SpaceSample(COLUMN, unchecked="OPENAI_API_KEY is not set")


def vectors(sampled: int, wrong: int, zero: int, not_unit: int | None) -> Verdict:
    counts = {"sampled": sampled, "wrong_dimensions": wrong, "zero": zero, "not_unit_length": not_unit}
    return finite_dimensions(vector_statistics(**counts), FAKE_SPACE)


def norms(*, normalized: bool = True, **counts: object) -> Verdict:
    return unit_norm(vector_statistics(**counts), replace(FAKE_SPACE, normalized=normalized))


CASES = [
    (vectors(5, 0, 0, 0), True, "5 vectors checked, all with 768 finite"),
    (vectors(5, 0, 0, None), True, "5 vectors checked"),
    (vectors(0, 0, 0, 0), True, "0 vectors checked"),
    (vectors(5, 1, 0, 0), False, "1 of 5 vectors are faulty: 1 of wrong length"),
    (vectors(5, 0, 2, 0), False, "2 zero"),
    (vectors(5, 0, 0, 3), False, "3 not of unit length"),
    (throughput(None, CONFIG), True, "no run has embedded 100 chunks yet"),
    (throughput(run(100, 10.0), CONFIG), True, "10.0 chunks/s on cpu, the floor is 10"),
    (throughput(run(99, 10.0), CONFIG), False, "9.9 chunks/s on cpu, the floor is 10. Use a GPU"),
    (throughput(run(100, 0.0), CONFIG), False, "0.0 chunks/s"),
    (throughput(replace(run(99, 10.0), device="api"), CONFIG), False, "higher rate limits"),
    (coverage(backlog(), CONFIG), True, "100 of 100 chunks are embedded (100%)"),
    (coverage(backlog(chunks=0, embedded=0), CONFIG), True, "0 of 0"),
    (coverage(backlog(embedded=99, pending=1), CONFIG), False, "99 of 100 chunks are embedded (99%). M"),
    (coverage(backlog(embedded=98, pending=1, quarantined=1), CONFIG), False, "(98%), 1 quarantined. Materialize"),
    (coverage(backlog(embedded=99, quarantined=1), CONFIG), False, "(99%), 1 quarantined. List them with"),
    (coverage(backlog(embedded=97, pending=3), CONFIG, {"0": 1, "c": 2}), False,
         "97 of 100 chunks are embedded (97%); pending in 2 partitions: 0 c. M"),
        (coverage(backlog(embedded=99), EmbeddingConfig(coverage_floor=0.99)), True, "99 of 100"),
    (quarantine_empty(backlog(waiting=4)), True, "no chunk is quarantined"),
    (quarantine_empty(backlog(quarantined=2)), False, "2 chunks failed too often. List them with"),
    (hashes_reachable(backlog(pending=4)), True, "every pending chunk lies in a partition"),
    (hashes_reachable(backlog(unreachable=2)), False, "2 pending chunks have a chunk_hash that is not lowercase"),
    (vectors_match_model([]), True, "nothing was embedded, so nothing was compared"),
    (vectors_match_model([RIGHT]), True, "64 vectors computed again, all as they are stored"),
    (vectors_match_model([RIGHT, UNCHECKED]), True, f"as they are stored. space {NAME} is not checked: OPENAI_API_KEY"),
    (vectors_match_model([RIGHT, WRONG]), False, f"space {NAME}: 7 of 64 vectors are not what fake/hashing makes"),
    (vectors_match_model([WRONG]), False, "down to -0.04), e.g. those of a, b, c, d, e. Another model wrote"),
    (vectors_match_model([WRONG, UNCHECKED]), False, f"OPENAI_API_KEY is not set. space {NAME}: 7"),
    (vectors_match_model([WRONG, UNCHECKED]), False, "when the table was adopted. Set to NULL what is not"),
    (norms(), True, "10 vectors read, of length 1"),
    (norms(norm_min=0.9995), True, "of length 0.9995 to 1"),
    (norms(count=40), True, "random (a single faulty one is among them with a probability of 25%), of length 1"),
    (norms(norm_max=1.002), False, "fake/hashing makes vectors of length 1"),
    (norms(norm_min=0.5), False, "of length 0.5 to 1: fake/hashing"),
    (norms(normalized=False, norm_min=0.5), True, "of length 0.5 to 1"),
    (norms(zero=2), False, "2 have length zero and no direction. Set those to NULL"),
    (norms(zero=1), False, "1 has length zero and no direction"),
    (norms(normalized=False, zero=2), False, "2 have length zero"),
    (norms(norm_min=None, norm_max=None, sampled=0, count=0), True, "0 vectors read"),
    (backlog_age(None, NOON, 24), True, "no chunk waits"),
    (backlog_age(NOON - timedelta(minutes=30), NOON, 24), True, "has waited 0.5 h; up to 24 h are fine"),
    (backlog_age(NOON - timedelta(hours=24), NOON, 24), True, "has waited 24.0 h"),
    (backlog_age(NOON - timedelta(hours=25), NOON, 24), False, "since 2026-11-20 11:00 UTC; up to 24 h are fine. See"),
]  # fmt: skip


@pytest.mark.parametrize(("verdict", "passed", "found"), CASES)
def test_verdicts(verdict: Verdict, passed: bool, found: str):
    in_danger = {"finite_dimensions", "unit_norm", "vectors_match_model"}
    assert verdict.severity == ("error" if verdict.name in in_danger else "warning")
    assert verdict.passed is passed
    assert found in verdict.description


def test_every_check_is_seen_passing_and_failing():
    names = {verdict.name for verdict, passed, *_ in CASES if passed}
    assert len(names) == 8
    assert names == {verdict.name for verdict, passed, *_ in CASES if not passed}


@pytest.mark.parametrize(
    ("verdict", "numbers"),
    [
        (coverage(backlog(embedded=25, pending=70), CONFIG), {"coverage": 0.25, "pending": 70}),
        (quarantine_empty(backlog(quarantined=2, waiting=3)), {"quarantined": 2, "waiting_for_retry": 3}),
        (throughput(run(300, 9.0), CONFIG), {"chunks_per_second": 33.33, "floor": 10.0}),
        (vectors(5, 1, 2, None),
         {"checked": 5, "wrong_dimensions": 1, "zero": 2, "not_unit_length": 0}),
        (hashes_reachable(backlog(unreachable=1)), {"unreachable": 1}),
        (vectors_match_model([RIGHT, WRONG, UNCHECKED]),
         {"compared": 128, "mismatched": 7, "spaces_not_checked": 1, "lowest_cosine": -0.04}),
        (norms(zero=2, count=40), {"sampled": 10, "vectors": 40, "zero": 2, "norm_min": 1.0, "norm_max": 1.0}),
        (backlog_age(NOON - timedelta(hours=25), NOON, 24), {"oldest_pending_hours": 25.0, "limit_hours": 24}),
        (backlog_age(None, NOON, 24), {"oldest_pending_hours": 0.0, "limit_hours": 24}),
        (vectors_match_model([UNCHECKED]), {"compared": 0, "mismatched": 0, "spaces_not_checked": 1}),
    ],
)  # fmt: skip
def test_numbers_behind_a_verdict(verdict: Verdict, numbers: dict[str, float]):
    assert verdict.numbers == numbers
