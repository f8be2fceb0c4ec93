"""A chunk that fails waits longer each time, is quarantined in the end, and starts afresh when it changes."""

import pytest

from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.failures import (
    FailedChunk,
    count_failures,
    count_quarantined,
    forget_outdated,
    list_failures,
    retry_failures,
    save_failures,
)
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks


@pytest.fixture
def config(settings):
    return settings.embedding.model_copy(update={"max_attempts": 3, "retry_delay_seconds": 100.0})


def due(database, column) -> list[str]:
    return [chunk.chunk_hash for chunk in fetch_pending(database, column, range(256), after="", limit=99)]


def test_waits_double_until_quarantine(database, column, config):
    [chunk_hash] = insert_chunks(database, ["text"], document_metadata='{"source": "a.md"}')
    for attempt, (code, wait) in enumerate([("not_finite", 100), ("zero_vector", 200), ("not_finite", 400)], start=1):
        save_failures(database, column.space.name, [FailedChunk(chunk_hash, code)], config)
        [failure] = list_failures(database)
        assert (failure.chunk_hash, failure.space, failure.source) == (chunk_hash, column.space.name, "a.md")
        assert (failure.error_code, failure.attempts, failure.quarantined) == (code, attempt, attempt == 3)
        assert (failure.retry_at - failure.last_failed_at).total_seconds() == pytest.approx(wait)
        assert due(database, column) == []
    backlog = count_backlog(database, column)
    assert (backlog.pending, backlog.waiting, backlog.quarantined, backlog.due) == (0, 0, 1, 0)


def test_a_wait_that_is_over_makes_the_chunk_due_and_retry_makes_all_due(database, column, config, execute):
    hashes = sorted(insert_chunks(database, ["waits", "is quarantined", "is fine"]))
    failing = [FailedChunk(h, "x") for h in hashes[:2]]
    save_failures(database, column.space.name, failing, config)
    save_failures(
        database, column.space.name, [FailedChunk(hashes[1], "x")], config.model_copy(update={"max_attempts": 1})
    )
    assert due(database, column) == [hashes[2]]
    assert [failure.chunk_hash for failure in list_failures(database)] == [hashes[1], hashes[0]]
    assert len(list_failures(database, limit=1)) == 1
    execute("UPDATE embedding_failures SET retry_at = now() - interval '1 second'")
    assert due(database, column) == [hashes[0], hashes[2]]
    assert retry_failures(database) == 2
    assert due(database, column) == hashes
    assert list_failures(database) == []


def test_the_wait_stays_finite(database, column, config, execute):
    [chunk_hash] = insert_chunks(database, ["text"])
    most = config.model_copy(update={"max_attempts": 100})
    for attempts in (0, 60, 98):
        execute("UPDATE embedding_failures SET attempts = %s", attempts)
        save_failures(database, column.space.name, [FailedChunk(chunk_hash, "x")], most)
    [failure] = list_failures(database)
    assert failure.attempts == 99
    assert (failure.retry_at - failure.last_failed_at).total_seconds() == pytest.approx(100 * 1e6)
    assert not failure.quarantined


def test_failures_are_a_space_s_own_and_go_with_their_chunk(database, column, config, execute):
    second = register_space(database, FAKE_SPACE, new_space=True)
    hashes = insert_chunks(database, ["one", "two"])
    save_failures(database, column.space.name, [FailedChunk(h, "x") for h in hashes], config)
    assert due(database, column) == []
    assert due(database, second) == sorted(hashes)
    execute("DELETE FROM knowledge_base WHERE chunk_hash = %s", hashes[0])
    assert [failure.chunk_hash for failure in list_failures(database)] == [hashes[1]]
    save_failures(database, column.space.name, [], config)


@pytest.mark.parametrize("change", ["DELETE FROM knowledge_base", "UPDATE knowledge_base SET chunk_text = 'edited'"])
def test_a_chunk_that_is_deleted_or_edited_meanwhile_has_not_failed(database, column, config, execute, change):
    insert_chunks(database, ["text"])
    [chunk] = fetch_pending(database, column, range(256), after="", limit=9)
    failing = [FailedChunk(chunk.chunk_hash, "x", chunk.key, chunk.fingerprint), FailedChunk("0" * 64, "y")]
    execute(change)
    save_failures(database, column.space.name, failing, config)
    assert execute("SELECT * FROM embedding_failures") == []


@pytest.mark.parametrize("change", ["DELETE FROM knowledge_base", "UPDATE knowledge_base SET chunk_text = 'edited'"])
def test_nor_one_whose_change_commits_after_its_failure(database, column, config, beside, change):
    """A transaction that changes a row is not waited for, nor waits."""
    insert_chunks(database, ["text"])
    [chunk] = fetch_pending(database, column, range(256), after="", limit=9)
    with beside.transaction():
        beside.execute(change)
        failing = [FailedChunk(chunk.chunk_hash, "x", chunk.key, chunk.fingerprint)]
        save_failures(database, column.space.name, failing, config)
        assert len(list_failures(database)) == 1
    assert list_failures(database) == []
    assert count_failures(database, column.space.name) == {}


def test_the_table_can_be_truncated(database, column, config, execute):
    once = config.model_copy(update={"max_attempts": 1})
    hashes = insert_chunks(database, ["one", "two"])
    save_failures(database, column.space.name, [FailedChunk(h, "x") for h in hashes], once)
    execute("TRUNCATE knowledge_base")
    backlog = count_backlog(database, column)
    assert (backlog.chunks, backlog.pending, backlog.quarantined) == (0, 0, 0)
    assert list_failures(database) == []
    # What comes again under the same hash, but says something else, has not failed.
    execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, 'another'), ('aa', 'new')", hashes[0])
    save_failures(database, column.space.name, [FailedChunk("aa", "x")], once)
    assert due(database, column) == [hashes[0]]
    assert count_backlog(database, column).quarantined == 1


def test_failures_of_what_is_gone_or_edited_are_not_counted_and_can_be_forgotten(database, column, config, execute):
    once = config.model_copy(update={"max_attempts": 1})
    hashes = insert_chunks(database, ["stays", "goes", "is edited"])
    pending = fetch_pending(database, column, range(256), after="", limit=9)
    failing = [FailedChunk(chunk.chunk_hash, "x", chunk.key, chunk.fingerprint) for chunk in pending]
    save_failures(database, column.space.name, failing, once)
    execute("DELETE FROM knowledge_base WHERE chunk_text = 'goes'")
    execute("UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'is edited'")
    assert count_failures(database, column.space.name) == {"x": 1}
    assert count_quarantined(database, column.space.name, 1) == {hashes[0][0]: 1}
    backlog = count_backlog(database, column)
    assert (backlog.chunks, backlog.due, backlog.quarantined) == (2, 1, 1)
    assert forget_outdated(database) == 2
    assert execute("SELECT chunk_hash FROM embedding_failures") == [(hashes[0],)]
    assert forget_outdated(database) == 0


def test_a_new_text_starts_with_its_own_attempts(database, column, config, execute):
    [chunk_hash] = insert_chunks(database, ["text"])
    for text, attempts in (("text", 1), ("text", 2), ("another", 1), ("another", 2)):
        execute("UPDATE knowledge_base SET chunk_text = %s", text)
        save_failures(database, column.space.name, [FailedChunk(chunk_hash, "x")], config)
        assert [failure.attempts for failure in list_failures(database)] == [attempts]
