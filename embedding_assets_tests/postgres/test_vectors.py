"""Vectors reach their column exactly, only for the text they were made from."""

import threading
import time

import numpy as np
import psycopg
import pytest

from embedding_assets.errors import RowRefusedError
from embedding_assets.postgres import vectors as module
from embedding_assets.postgres.backlog import fetch_pending
from embedding_assets.postgres.failures import FailedChunk, list_failures, save_failures
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.vectors import WriteOutcome, write_vectors
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tables import (
    pending_chunks,
    stored_vectors,
    table_counters,
    unit_vectors,
)

# Writing


def test_vectors_are_stored_bit_for_bit(database):
    column = register_space(database, FAKE_SPACE)
    hashes = insert_chunks(database, ["one", "two", "three"])
    vectors = unit_vectors(3, 768)
    vectors[0, :4] = np.float32([1e-38, -0.0, np.nextafter(np.float32(0.1), np.float32(1)), 1 / 3])
    chunks = pending_chunks(database, column)
    assert write_vectors(database, column, chunks, vectors).written == set(hashes)
    found = stored_vectors(database, column)
    for chunk, vector in zip(chunks, vectors, strict=True):
        assert found[chunk.chunk_hash].dtype == np.float32
        assert found[chunk.chunk_hash].tobytes() == vector.tobytes()
    assert pending_chunks(database, column) == []


def test_only_rows_as_they_were_embedded_are_written(database, column, execute):
    hashes = insert_chunks(database, ["stays", "edited", "deleted", "embedded meanwhile"])
    chunks = pending_chunks(database, column)
    execute("UPDATE knowledge_base SET chunk_text = 'new' WHERE chunk_text = 'edited'")
    execute("DELETE FROM knowledge_base WHERE chunk_text = 'deleted'")
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_text = 'embedded meanwhile'")
    assert write_vectors(database, column, chunks, unit_vectors(4)).written == {hashes[0]}
    assert set(stored_vectors(database, column)) == {hashes[0], hashes[3]}
    assert stored_vectors(database, column)[hashes[3]].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert [chunk.text for chunk in pending_chunks(database, column)] == ["new"]
    # Nothing is left in the session's table from one write to the next.
    assert write_vectors(database, column, pending_chunks(database, column), unit_vectors(1)).written == {hashes[1]}


def test_a_row_that_came_again_with_another_text_is_not_written(database, column, execute):
    [chunk_hash] = insert_chunks(database, ["text"])
    chunks = pending_chunks(database, column)
    execute("DELETE FROM knowledge_base")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, 'another')", chunk_hash)
    assert write_vectors(database, column, chunks, unit_vectors(1)) == WriteOutcome()
    assert stored_vectors(database, column) == {}
    assert [chunk.text for chunk in pending_chunks(database, column)] == ["another"]


def test_rows_that_swap_their_hashes_are_not_written(database, column, execute):
    one, two = insert_chunks(database, ["one", "two"])
    chunks = pending_chunks(database, column)
    for before, after in ((one, "between"), (two, one), ("between", two)):
        execute("UPDATE knowledge_base SET chunk_hash = %s WHERE chunk_hash = %s", after, before)
    assert write_vectors(database, column, chunks, unit_vectors(2)) == WriteOutcome()
    assert {(c.chunk_hash, c.text) for c in pending_chunks(database, column)} == {(one, "two"), (two, "one")}


def test_a_text_that_is_edited_and_back_is_the_one_that_was_embedded(database, column, execute):
    [chunk_hash] = insert_chunks(database, ["text"])
    chunks = pending_chunks(database, column)
    execute("UPDATE knowledge_base SET chunk_text = 'another'")
    execute("UPDATE knowledge_base SET chunk_text = 'text'")
    assert write_vectors(database, column, chunks, unit_vectors(1)).written == {chunk_hash}


def test_a_text_that_a_trigger_changes_with_the_write_keeps_no_vector(database, column, execute):
    hashes = insert_chunks(database, ["stays", "changes"])
    chunks = pending_chunks(database, column)
    execute("""
        CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.chunk_text := 'changed'; RETURN NEW;
        END $$
    """)
    # Called after the package's own, which therefore does not see it.
    execute("""
        CREATE TRIGGER zzzz BEFORE UPDATE ON knowledge_base FOR EACH ROW
        WHEN (OLD.chunk_text = 'changes' AND NEW.embedding IS NOT NULL) EXECUTE FUNCTION change()
    """)
    assert write_vectors(database, column, chunks, unit_vectors(2)).written == {hashes[0]}
    assert set(stored_vectors(database, column)) == {hashes[0]}
    assert [chunk.text for chunk in pending_chunks(database, column)] == ["changed"]


# Beside others


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'theirs'",
        "UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]' WHERE chunk_text = 'theirs'",
        "DELETE FROM knowledge_base WHERE chunk_text = 'theirs'",
    ],
)
def test_a_row_that_somebody_has_locked_delays_itself_only(database, column, execute, beside, change):
    theirs, ours = insert_chunks(database, ["theirs", "ours"])
    chunks = pending_chunks(database, column)
    with beside.transaction():
        beside.execute(change)
        # In this thread: if it waited, that would be for ever.
        assert write_vectors(database, column, chunks, unit_vectors(2)) == WriteOutcome(written={ours})
    assert write_vectors(database, column, chunks, unit_vectors(2)).written == set()
    assert execute("SELECT count(*) FROM knowledge_base WHERE chunk_hash = %s AND embedding <> '[1,0,0,0,0,0,0,0]'",
                   theirs) == [(0,)]  # fmt: skip


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_transaction_of_the_user_s_never_gets_a_deadlock(database, column, execute, beside, database_url, held):
    hashes = sorted(insert_chunks(database, ["one", "two", "three"]))
    chunks = pending_chunks(database, column)
    execute("""
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END $$
    """)
    execute("CREATE TRIGGER a BEFORE UPDATE OF embedding ON knowledge_base FOR EACH ROW EXECUTE FUNCTION wait()")
    edit = "UPDATE knowledge_base SET token_count = token_count + 1 WHERE chunk_hash = %s"
    beside.execute("SELECT pg_advisory_lock(4711)")
    with psycopg.connect(database_url) as user:
        user.execute(edit, [hashes[held]])
        outcomes = []
        writer = threading.Thread(
            target=lambda: outcomes.append(write_vectors(database, column, chunks, unit_vectors(3)))
        )
        writer.start()
        until(beside, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        # The writer has what it does not skip, and the user asks for all of that.
        edits = threading.Thread(target=lambda: [user.execute(edit, [h]) for h in hashes if h != hashes[held]])
        edits.start()
        until(beside, "SELECT 1 FROM pg_locks WHERE locktype IN ('transactionid', 'tuple') AND NOT granted")
        beside.execute("SELECT pg_advisory_unlock(4711)")
        writer.join(180)
        edits.join(180)
        assert outcomes == [WriteOutcome(written={h for h in hashes if h != hashes[held]})]
        user.commit()
    assert execute("SELECT count(*) FROM knowledge_base WHERE token_count = 1") == [(3,)]


def until(connection: psycopg.Connection, query: str) -> None:
    deadline = time.monotonic() + 180
    own = " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    while not connection.execute(query + ("" if "transactionid" in query else own)).fetchall():
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


# What the table refuses

LONG_VALUE = " || ".join(f"md5(chunk_text || '{number}')" for number in range(300))
"""A text of 9,600 random characters, of which a B-tree takes no more than 2,704 bytes."""


def refuse(execute, how: str, condition: str) -> None:
    """Let a constraint that was added later, or a trigger, be against updates of some rows."""
    if how == "constraint":
        execute(f"ALTER TABLE knowledge_base ADD CHECK (NOT ({condition})) NOT VALID")
        return
    execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no: %', NEW.chunk_text; END $$")  # fmt: skip
    execute(f"CREATE TRIGGER refuse BEFORE UPDATE ON knowledge_base FOR EACH ROW WHEN (NEW.{condition}) "
            "EXECUTE FUNCTION refuse()")  # fmt: skip


@pytest.mark.parametrize("how", ["constraint", "trigger"])
def test_a_row_that_the_table_refuses_is_refused_alone(database, column, execute, how):
    hashes = insert_chunks(database, [f"text {number}" for number in range(40)])
    chunks = pending_chunks(database, column)
    refuse(execute, how, "chunk_text IN ('text 7', 'text 8', 'text 39')")
    outcome = write_vectors(database, column, chunks, unit_vectors(40))
    bad = {hashes[7], hashes[8], hashes[39]}
    assert outcome == WriteOutcome(written=set(hashes) - bad, refused=bad)
    assert set(stored_vectors(database, column)) == outcome.written


def test_a_row_too_large_for_an_index_of_the_table_is_refused_alone(database, column, execute):
    hashes = insert_chunks(database, ["one", "two", "three"])
    chunks = pending_chunks(database, column)
    condition = "embedding IS NOT NULL AND chunk_text = 'two'"
    execute(f"CREATE INDEX ON knowledge_base ((CASE WHEN {condition} THEN {LONG_VALUE} END))")
    outcome = write_vectors(database, column, chunks, unit_vectors(3))
    assert outcome == WriteOutcome(written={hashes[0], hashes[2]}, refused={hashes[1]})


@pytest.mark.parametrize("how", ["constraint", "trigger"])
def test_when_the_table_refuses_every_row_that_is_soon_an_error(database, column, execute, monkeypatch, how):
    hashes = insert_chunks(database, [f"text {number}" for number in range(700)])
    chunks = fetch_pending(database, column, range(256), after="", limit=1000)
    refuse(execute, how, "chunk_text <> ''")
    attempts = []
    write = module._write
    monkeypatch.setattr(module, "_write", lambda *given: attempts.append(given) or write(*given))
    with pytest.raises(RowRefusedError) as caught:
        write_vectors(database, column, chunks, unit_vectors(len(hashes)))
    assert 20 < len(attempts) < 200
    assert "text 1" not in str(caught.value)


def test_a_limit_on_statements_does_not_end_a_write(database, column, execute):
    hashes = insert_chunks(database, ["one", "two", "three", "four"])
    execute("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$")  # fmt: skip
    execute("CREATE TRIGGER a BEFORE UPDATE OF embedding ON knowledge_base FOR EACH ROW EXECUTE FUNCTION slow()")
    [(name,)] = execute("SELECT current_database()")
    execute(f"ALTER DATABASE \"{name}\" SET statement_timeout = '300ms'")
    database.close()
    chunks = pending_chunks(database, column)
    assert write_vectors(database, column, chunks, unit_vectors(4)).written == set(hashes)
    # It holds on for whatever else this session does.
    assert execute("SELECT current_setting('statement_timeout')") == [("300ms",)]


def test_a_portion_does_not_read_the_whole_table(database, column, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) SELECT md5(n::text), 'text' "
            "FROM generate_series(1, 3000) n")  # fmt: skip
    before = table_counters(database, execute, updates=0)
    chunks = fetch_pending(database, column, range(256), after="", limit=1000)
    write_vectors(database, column, chunks, unit_vectors(1000))
    assert table_counters(database, execute, updates=1000)["seq_scan"] == before["seq_scan"]


def test_a_written_chunk_s_failures_in_that_space_are_forgotten(database, column, settings):
    second = register_space(database, FAKE_SPACE, new_space=True)
    hashes = insert_chunks(database, ["one", "two"])
    chunks = pending_chunks(database, column)
    for each in (column, second):
        save_failures(database, each.space.name, [FailedChunk(h, "x") for h in hashes], settings.embedding)
    write_vectors(database, column, chunks[:1], unit_vectors(1))
    assert {(failure.chunk_hash, failure.space) for failure in list_failures(database)} == {
        (chunks[1].chunk_hash, column.space.name),
        *((chunk_hash, second.space.name) for chunk_hash in hashes),
    }


@pytest.mark.parametrize(
    "vectors",
    [unit_vectors(1, 9), np.full((1, 8), np.nan, dtype=np.float32), np.full((1, 8), np.inf, dtype=np.float32)],
    ids=["9 dimensions", "NaN", "infinite"],
)
def test_the_table_itself_refuses_what_is_no_vector_of_its_space(database, column, vectors):
    hashes = insert_chunks(database, ["text"])
    chunks = pending_chunks(database, column)
    assert write_vectors(database, column, chunks, vectors) == WriteOutcome(refused=set(hashes))
    assert stored_vectors(database, column) == {}


def test_chunks_and_vectors_must_be_as_many(database, column):
    insert_chunks(database, ["text"])
    with pytest.raises(ValueError, match="zip"):
        write_vectors(database, column, pending_chunks(database, column), unit_vectors(2))
    assert stored_vectors(database, column) == {}
