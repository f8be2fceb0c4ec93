"""Vectors reach their column exactly, only for the text they were made from, and are found again."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from pgvector import Vector

from embedding_assets.config import IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.chunks import fetch_pending
from embedding_assets.postgres.failures import list_failures, record_failures
from embedding_assets.postgres.index import build_vector_index
from embedding_assets.postgres.spaces import SpaceRecord, register_space
from embedding_assets.postgres.vectors import (
    check_stored_vectors,
    count_missing,
    holds_vectors,
    nearest_chunks,
    write_vectors,
)
from embedding_assets_tests.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.postgres.conftest import insert_vectors, unit_vectors
from embedding_assets_tests.postgres.test_chunks import PlanRecorder

CONFIG = IndexConfig()


def pending(database, record) -> list:
    return fetch_pending(database, record, range(256), after="", limit=99)


def stored(database, record) -> dict[str, np.ndarray]:
    rows = database.run(
        lambda connection: connection.execute(
            f"SELECT chunk_hash, {record.column} FROM knowledge_base WHERE {record.column} IS NOT NULL"
        ).fetchall()
    )
    return {chunk_hash: vector.to_numpy() for chunk_hash, vector in rows}


# Writing


def test_vectors_are_stored_bit_for_bit(database):
    record = register_space(database, FAKE_SPACE)
    hashes = insert_chunks(database, ["one", "two", "three"])
    vectors = unit_vectors(3, 768)
    vectors[0, :4] = np.float32([1e-38, -0.0, np.nextafter(np.float32(0.1), np.float32(1)), 1 / 3])
    chunks = pending(database, record)
    assert write_vectors(database, record, chunks, vectors) == set(hashes)
    found = stored(database, record)
    for chunk, vector in zip(chunks, vectors, strict=True):
        assert found[chunk.chunk_hash].dtype == np.float32
        assert found[chunk.chunk_hash].tobytes() == vector.tobytes()
    assert pending(database, record) == []


def test_only_rows_as_they_were_embedded_are_written(database, record, execute):
    hashes = insert_chunks(database, ["stays", "edited", "deleted", "embedded meanwhile"])
    chunks = pending(database, record)
    execute("UPDATE knowledge_base SET chunk_text = 'new' WHERE chunk_text = 'edited'")
    execute("DELETE FROM knowledge_base WHERE chunk_text = 'deleted'")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_text = 'embedded meanwhile'")
    assert write_vectors(database, record, chunks, unit_vectors(4)) == {hashes[0]}
    assert set(stored(database, record)) == {hashes[0], hashes[3]}
    assert stored(database, record)[hashes[3]].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert [chunk.text for chunk in pending(database, record)] == ["new"]
    # Nothing is left in the session's table from one write to the next.
    assert write_vectors(database, record, pending(database, record), unit_vectors(1)) == {hashes[1]}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE knowledge_base SET chunk_text = 'edited'",
        "UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'",
        "DELETE FROM knowledge_base",
    ],
)
def test_a_change_that_commits_while_the_write_waits_is_not_overwritten(database, record, execute, change):
    insert_chunks(database, ["text"])
    chunks = pending(database, record)
    written = []
    with database.connect() as other:
        other.execute(change)
        writer = threading.Thread(
            target=lambda: written.append(write_vectors(database, record, chunks, unit_vectors(1)))
        )
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        other.commit()
    writer.join(10)
    assert written == [set()]
    assert execute("SELECT count(*) FROM knowledge_base WHERE embedding <> '[1,0,0,0,0,0,0,0]'") == [(0,)]


def table_counters(database, execute, *, updates: int) -> dict[str, int]:
    """What PostgreSQL counted for the table, once it has counted ``updates`` rows; sessions report late."""
    database.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        rows = execute("SELECT to_jsonb(s) FROM pg_stat_user_tables s WHERE relname = 'knowledge_base'")
        if rows[0][0]["n_tup_upd"] >= updates:
            return rows[0][0]
        time.sleep(0.1)
    raise AssertionError(rows)


def fill(database, record, portion: int = 40) -> None:
    chunks = fetch_pending(database, record, range(256), after="", limit=1000)
    vectors = unit_vectors(len(chunks), record.space.dimensions)
    for start in range(0, len(chunks), portion):
        part = slice(start, start + portion)
        assert len(write_vectors(database, record, chunks[part], vectors[part])) == len(chunks[part])


def test_a_portion_does_not_read_the_whole_table(database, record, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 3000) n")  # fmt: skip
    before = table_counters(database, execute, updates=0)
    chunks = fetch_pending(database, record, range(256), after="", limit=1000)
    write_vectors(database, record, chunks, unit_vectors(1000))
    assert table_counters(database, execute, updates=1000)["seq_scan"] == before["seq_scan"]


def test_a_written_chunk_s_failures_in_that_space_are_forgotten(database, record, settings):
    second = register_space(database, FAKE_SPACE, new_space=True)
    hashes = insert_chunks(database, ["one", "two"])
    chunks = pending(database, record)
    for each in (record, second):
        record_failures(database, each.space.name, dict.fromkeys(hashes, "x"), settings.embedding)
    write_vectors(database, record, chunks[:1], unit_vectors(1))
    assert {(failure.chunk_hash, failure.space) for failure in list_failures(database)} == {
        (chunks[1].chunk_hash, record.space.name),
        *((chunk_hash, second.space.name) for chunk_hash in hashes),
    }


def test_the_table_itself_refuses_what_is_no_vector_of_its_space(database, record):
    insert_chunks(database, ["text"])
    chunks = pending(database, record)
    for vectors, message in (
        (unit_vectors(1, 9), "expected 8 dimensions"),
        (np.full((1, 8), np.nan, dtype=np.float32), "NaN"),
        (np.full((1, 8), np.inf, dtype=np.float32), "infinite"),
    ):
        with pytest.raises(DatabaseError, match=message):
            write_vectors(database, record, chunks, vectors)
    with pytest.raises(ValueError, match="zip"):
        write_vectors(database, record, chunks, unit_vectors(2))
    assert stored(database, record) == {}


# Checking


def test_faulty_vectors_are_counted(database, record, execute):
    vectors = unit_vectors(6)
    vectors[1] = 0
    vectors[2] *= 1.01
    vectors[3] *= 1.0005
    insert_vectors(database, record, vectors)
    insert_chunks(database, ["pending"])
    report = check_stored_vectors(database, record)
    assert (report.checked, report.wrong_dimensions, report.zero, report.not_unit_length) == (6, 0, 1, 1)
    assert report.faulty == 2
    raw = dataclasses.replace(record, space=dataclasses.replace(record.space, normalized=False))
    report = check_stored_vectors(database, raw)
    assert (report.zero, report.not_unit_length, report.faulty) == (1, None, 1)
    other = dataclasses.replace(record, space=dataclasses.replace(record.space, dimensions=9))
    assert check_stored_vectors(database, other).wrong_dimensions == 6
    execute("DELETE FROM knowledge_base")
    assert check_stored_vectors(database, record).checked == 0


def test_a_large_table_is_sampled(database, record, execute, monkeypatch):
    insert_vectors(database, record, unit_vectors(2000))
    execute("ANALYZE knowledge_base")
    monkeypatch.setattr("embedding_assets.postgres.vectors._SAMPLE_ROWS", 500)
    assert 0 < check_stored_vectors(database, record).checked < 1500


# Searching


def search(database, record, vector, *, k=3, config=CONFIG, **where) -> list[str]:
    rows = nearest_chunks(database, record, vector, k=k, where=where, index=config)
    distances = [row[4] for row in rows]
    assert distances == sorted(distances)
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("operator_class", "distance"),
    [
        ("vector_cosine_ops", lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
        ("vector_ip_ops", lambda a, b: -a @ b),
        ("vector_l2_ops", lambda a, b: np.linalg.norm(a - b)),
    ],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_the_nearest_come_first_by_every_distance(database, record, operator_class, distance, indexed):
    vectors = unit_vectors(40) * np.linspace(0.5, 2, 40, dtype=np.float32)[:, None]
    hashes = insert_vectors(database, record, vectors)
    config = IndexConfig(operator_class=operator_class)
    if indexed:
        build_vector_index(database, record, config)
    query = unit_vectors(1, seed=3)[0]
    order = sorted(range(40), key=lambda row: distance(query, vectors[row]))
    rows = nearest_chunks(database, record, query, k=5, where={}, index=config)
    assert [row[0] for row in rows] == [hashes[row] for row in order[:5]]
    assert [row[4] for row in rows] == pytest.approx([distance(query, vectors[row]) for row in order[:5]], abs=1e-5)
    assert search(database, record, query, k=2000, config=config) == [hashes[row] for row in order]


HOSTILE = {
    "it's": "O'Reilly",
    'a "quoted" key': 'say "hi"',
    "%(vector)s": "100 % {column}",
    "'; DROP TABLE knowledge_base; --": "'); DELETE FROM knowledge_base; --",
    "ключ": "знач \U0001f600",
    "back\\slash": "\\",
    "0": "zero",
    "": "empty key",
    "key0": "value0",
}


def test_filters_are_values_and_nothing_else(database, record, execute):
    vectors = unit_vectors(len(HOSTILE) + 1)
    hashes = insert_vectors(database, record, vectors)
    for chunk_hash, (key, value) in zip(hashes, HOSTILE.items(), strict=False):
        execute(
            "UPDATE knowledge_base SET document_metadata = jsonb_build_object(%s::text, %s::text, 'all', 'yes') "
            "WHERE chunk_hash = %s",
            key, value, chunk_hash,
        )  # fmt: skip
    for chunk_hash, (key, value) in zip(hashes, HOSTILE.items(), strict=False):
        for where, wanted in (
            ({key: value}, [chunk_hash]),
            ({key: value, "all": "yes"}, [chunk_hash]),
            ({key: value + " "}, []),
        ):
            rows = nearest_chunks(database, record, vectors[0], k=9, where=where, index=CONFIG)
            assert [row[0] for row in rows] == wanted
    with pytest.raises(DatabaseError, match="NUL"):
        search(database, record, vectors[0], source="\x00")
    assert len(stored(database, record)) == len(vectors)


def test_a_rare_value_is_found_however_early_the_index_gives_up(database, record, execute):
    vectors = unit_vectors(600)
    hashes = insert_vectors(database, record, vectors)
    execute("UPDATE knowledge_base SET document_metadata = '{\"source\": \"rare\"}' WHERE chunk_hash = ANY(%s)",
            hashes[-2:])  # fmt: skip
    build_vector_index(database, record, CONFIG)
    [(name,)] = execute("SELECT current_database()")
    for setting in ("hnsw.max_scan_tuples = 1", "enable_seqscan = off", "enable_bitmapscan = off"):
        execute(f'ALTER DATABASE "{name}" SET {setting}')
    database.close()
    for _ in range(12):
        assert sorted(search(database, record, vectors[0], source="rare")) == sorted(hashes[-2:])
    assert search(database, record, vectors[0], source="none") == []


def test_each_space_is_searched_in_its_own_column(database, record, execute):
    second: SpaceRecord = register_space(database, FAKE_SPACE, new_space=True)
    [first_hash] = insert_vectors(database, record, unit_vectors(1))
    [second_hash] = insert_chunks(database, ["other"])
    chunks = [chunk for chunk in pending(database, second) if chunk.chunk_hash == second_hash]
    write_vectors(database, second, chunks, unit_vectors(1, 768))
    assert search(database, record, unit_vectors(1)[0]) == [first_hash]
    assert search(database, second, unit_vectors(1, 768)[0]) == [second_hash]
    assert execute("SELECT embedding FROM knowledge_base WHERE chunk_hash = %s", second_hash) == [(None,)]
    assert isinstance(execute("SELECT embedding FROM knowledge_base WHERE chunk_hash = %s", first_hash)[0][0], Vector)


# Two spaces


def split(database, execute, count: int, *, both: int, neither: int = 0) -> tuple[SpaceRecord, SpaceRecord, list[str]]:
    """A serving space and another one, and chunks that only the latter has; ``both`` further ones are in both."""
    serving = register_space(database, dataclasses.replace(FAKE_SPACE, model="serving", dimensions=8))
    other = register_space(database, dataclasses.replace(FAKE_SPACE, model="other", dimensions=8), new_space=True)
    hashes = insert_vectors(database, other, unit_vectors(count + both))
    insert_chunks(database, [f"neither {number}" for number in range(neither)])
    execute(f"UPDATE knowledge_base SET embedding = {other.column} WHERE chunk_hash = ANY(%s)", hashes[count:])
    return serving, other, hashes[:count]


def test_whether_a_space_holds_what_another_lacks(database, execute):
    serving, other, [only] = split(database, execute, 1, both=2, neither=3)
    assert holds_vectors(database, other)
    assert holds_vectors(database, other, missing_in=serving)
    assert not holds_vectors(database, serving, missing_in=other)
    assert count_missing(database, serving, present_in=other) == 1
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_hash = %s", only)
    assert not holds_vectors(database, other, missing_in=serving)
    execute("UPDATE knowledge_base SET chunk_text = 'edited'")
    assert not holds_vectors(database, other)


def test_that_question_costs_nothing_while_nothing_is_pending(database, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    serving, other, _ = split(database, execute, 600, both=0)
    execute("ANALYZE knowledge_base")  # by which every row is one
    execute(f"UPDATE knowledge_base SET embedding = {other.column}")
    recorder = PlanRecorder(database)
    assert not holds_vectors(recorder, other, missing_in=serving)
    assert serving.pending_index in recorder.plan
    assert "Seq Scan" not in recorder.plan


def test_missing_vectors_of_a_large_table_are_estimated(database, execute, monkeypatch):
    serving, other, _ = split(database, execute, 1500, both=1500)
    execute("ANALYZE knowledge_base")
    assert count_missing(database, serving, present_in=other) == 1500
    monkeypatch.setattr("embedding_assets.postgres.vectors._SAMPLE_ROWS", 1000)
    estimates = [count_missing(database, serving, present_in=other) for _ in range(20)]
    assert len(set(estimates)) > 1
    assert 1000 < sum(estimates) / 20 < 2000


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("setting", ["hnsw.max_scan_tuples = 20000", "hnsw.max_scan_tuples = 1"])
def test_only_what_another_space_lacks_is_searched(database, execute, indexed, setting):
    serving, other, only = split(database, execute, 4, both=600)
    if indexed:
        build_vector_index(database, other, CONFIG)
        [(name,)] = execute("SELECT current_database()")
        for each in (setting, "enable_seqscan = off", "enable_bitmapscan = off"):
            execute(f'ALTER DATABASE "{name}" SET {each}')
        database.close()
    query, vectors = unit_vectors(1, seed=3)[0], unit_vectors(604)
    order = sorted(range(4), key=lambda row: -query @ vectors[row])
    for k in (1, 3, 4, 9):
        rows = nearest_chunks(database, other, query, k=k, where={}, index=CONFIG, missing_in=serving)
        assert [row[0] for row in rows] == [only[row] for row in order[:k]]
    assert nearest_chunks(database, serving, query, k=9, where={}, index=CONFIG, missing_in=other) == []
    execute('UPDATE knowledge_base SET document_metadata = \'{"source": "rare"}\' WHERE chunk_hash = %s', only[2])
    rows = nearest_chunks(database, other, query, k=3, where={"source": "rare"}, index=CONFIG, missing_in=serving)
    assert [row[0] for row in rows] == [only[2]]
