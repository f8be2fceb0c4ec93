"""Verdicts: each check seen passing and failing."""

from datetime import UTC, datetime

import pytest

from embedding_assets.config import EmbeddingConfig, IndexConfig
from embedding_assets.health import (
    Verdict,
    judge_coverage,
    judge_hashes,
    judge_index,
    judge_quarantine,
    judge_recall,
    judge_throughput,
    judge_vectors,
)
from embedding_assets.postgres.chunks import Backlog
from embedding_assets.postgres.index import IndexState, RecallSample
from embedding_assets.postgres.runs import RunRecord
from embedding_assets.postgres.vectors import StoredVectorsReport

CONFIG = EmbeddingConfig()
INDEX = IndexConfig()


def backlog(**changes: int) -> Backlog:
    counts = {"chunks": 100, "embedded": 100, "pending": 0, "waiting": 0, "quarantined": 0, "unreachable": 0}
    return Backlog(**{**counts, **changes})


def run(embedded: int, seconds: float) -> RunRecord:
    return RunRecord(datetime.now(UTC), embedded, 0, 0, 0, 1000, seconds, 1.0, 10**9, "cpu", "float32")


def index(**changes: object) -> IndexState:
    built = {"exists": True, "valid": True, "operator_class": "vector_cosine_ops", "m": 16, "ef_construction": 64}
    return IndexState("idx", **{**built, **changes})  # type: ignore[arg-type]


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
    (judge_coverage(backlog(), CONFIG), True, False, "100 of 100 chunks are embedded (100.0%)"),
    (judge_coverage(backlog(chunks=0, embedded=0), CONFIG), True, False, "0 of 0"),
    (judge_coverage(backlog(embedded=99, pending=1), CONFIG), False, False, "99 of 100 chunks are embedded (99.0%). M"),
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
    (judge_recall(RecallSample(9, None, False, None), CONFIG), True, False, "not measured: 9 vectors"),
    (judge_recall(RecallSample(100, 0.9, True, 1.5), CONFIG), True, False, "recall@10 is 0.900 in 100 queries"),
    (judge_recall(RecallSample(100, 0.899, True, 1.5), CONFIG), False, False, "Raise EMBEDDING_INDEX_EF_SEARCH"),
    (judge_recall(RecallSample(100, 0.5, False, None), CONFIG), False, False, "recall@10 is 0.500"),
]  # fmt: skip


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
        (judge_recall(RecallSample(50, 1.0, True, 0.1234), CONFIG),
         {"recall_at_10": 1.0, "queries": 50, "p50_milliseconds": 0.123, "planner_uses_index": 1}),
        (judge_vectors(StoredVectorsReport(5, 1, 2, None), 768),
         {"checked": 5, "wrong_dimensions": 1, "zero": 2, "not_unit_length": 0}),
        (judge_hashes(backlog(unreachable=1)), {"unreachable": 1}),
        (judge_index(index(size_bytes=8192), INDEX, 1), {"size_bytes": 8192}),
    ],
)  # fmt: skip
def test_numbers_behind_a_verdict(verdict: Verdict, numbers: dict[str, float]):
    assert verdict.numbers == numbers
