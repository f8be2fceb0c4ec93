"""Vectors are read by the week in which their chunks were loaded, a bounded number of each."""

from datetime import date

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from embedding_assets.postgres.weeks import read_weeks
from embedding_assets_tests.support.tables import insert_vectors, unit_vectors


@pytest.fixture
def dated(database, column, execute):
    """Nine vectors: one in 2025, three and four in two weeks of March 2026, one without a date; and one pending."""
    vectors = 3 * unit_vectors(9)
    hashes = insert_vectors(database, column, vectors)
    times = ["2025-01-01 00:00Z", *["2026-03-15 23:30Z"] * 3, *["2026-03-16 00:30Z"] * 4]
    for number, (chunk_hash, time) in enumerate(zip(hashes, times, strict=False)):
        origin = f"{time}, {number // 2}.md"
        execute(
            "INSERT INTO loaded_documents (origin, digest, chunks, loaded_at) VALUES (%s, 'd', 1, %s) "
            "ON CONFLICT DO NOTHING", origin, time,
        )  # fmt: skip
        execute(
            "UPDATE knowledge_base SET document_metadata = %s WHERE chunk_hash = %s",
            Jsonb({"origin": origin}), chunk_hash,
        )  # fmt: skip
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (repeat('a', 64), 'pending')")
    return dict(zip(hashes, vectors, strict=True))


@pytest.mark.usefixtures("dated")
def test_weeks_begin_on_monday_in_utc(database, column):
    weeks, undated = read_weeks(database, column, weeks=2, vectors=100)
    assert [(week.monday, week.chunks, week.documents) for week in weeks] == [
        (None, 1, 1), (date(2026, 3, 9), 3, 2), (date(2026, 3, 16), 4, 2)
    ]  # fmt: skip
    assert [len(week.vectors) for week in weeks] == [1, 3, 4]
    assert undated == 1
    assert [len(set(week.origins)) for week in weeks] == [1, 2, 2]
    assert [week.monday for week in read_weeks(database, column, weeks=520, vectors=100)[0]] == [
        date(2024, 12, 30), date(2026, 3, 9), date(2026, 3, 16)
    ]  # fmt: skip
    assert [(week.monday, week.chunks) for week in read_weeks(database, column, weeks=1, vectors=100)[0]] == [
        (None, 4), (date(2026, 3, 16), 4)
    ]  # fmt: skip


def test_of_each_week_the_first_by_their_hashes(database, column, dated):
    weeks, _ = read_weeks(database, column, weeks=2, vectors=6)
    assert [len(week.vectors) for week in weeks] == [1, 2, 2]
    hashes = sorted(list(dated)[4:8])[:2]
    expected = [dated[one] / np.linalg.norm(dated[one]) for one in hashes]
    np.testing.assert_allclose(weeks[-1].vectors, expected, atol=1e-6)


@pytest.mark.usefixtures("dated")
def test_zero_vectors_are_left_out(database, column, execute):
    execute("UPDATE knowledge_base SET embedding = '[0,0,0,0,0,0,0,0]' WHERE document_metadata ->> 'origin' < '2026'")
    [before, *_], _ = read_weeks(database, column, weeks=2, vectors=100)
    assert (before.chunks, before.vectors.shape) == (1, (0, 8))


def test_nothing_is_embedded(database, column):
    assert read_weeks(database, column, weeks=2, vectors=100) == ([], 0)
