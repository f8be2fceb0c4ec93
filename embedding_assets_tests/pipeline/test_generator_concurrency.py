"""What others do to the table, its locks and connections while a run is going on, and what a broken run leaves."""

import time
from contextlib import closing

import numpy as np
import psycopg
import pytest

from embedding_assets import errors
from embedding_assets.config import Settings
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of, insert_chunks, vector_of
from embedding_assets_tests.support.generator_runs import Spoil, assert_right, embed, stored, texts, without


def during(connection: psycopg.Connection, statement: str) -> Spoil:
    """Execute a statement while the first batch is being encoded."""
    done: list[bool] = []

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if not done:
            done.append(True)
            connection.execute(statement)
        return batch

    return spoil


def test_an_edit_during_the_run_is_not_overwritten(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(10))
    edit = "UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_text = 'text 4'"
    stats = embed(settings, database, FakeProvider(spoil=during(beside, edit)))
    assert (stats.embedded, stats.skipped) == (9, 1)
    assert_right(database, [text for text in texts(10) if text != "text 4"])
    assert count_backlog(database, register_space(database, FAKE_SPACE)).pending == 1
    provider = FakeProvider()
    assert embed(settings, database, provider).embedded == 1
    assert provider.seen == ["edited"]


def test_a_failure_is_not_blamed_on_the_text_that_replaced_it(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, ["text 1"])
    edit = during(beside, "UPDATE knowledge_base SET chunk_text = 'edited'")
    provider = FakeProvider(spoil=lambda portion, batch: without("text 1", error="odd")(portion, edit(portion, batch)))
    embed(settings, database, provider, max_attempts=1)
    assert list_failures(database) == []
    assert embed(settings, database).embedded == 1


def test_a_chunk_deleted_during_the_run_is_skipped(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(10))
    delete = "DELETE FROM knowledge_base WHERE chunk_text IN ('text 4', 'text 5')"
    spoil = during(beside, delete)
    bad = without("text 5", error="odd")
    stats = embed(settings, database, FakeProvider(spoil=lambda p, b: bad(p, spoil(p, b))))
    assert (stats.embedded, stats.skipped, stats.failed) == (8, 1, 1)
    assert list_failures(database) == []
    assert_right(database, [text for text in texts(10) if text not in ("text 4", "text 5")])


def test_a_vector_that_is_there_already_is_kept(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(4))
    theirs = vector_of("theirs")
    write = during(beside, "SELECT 1")

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        beside.execute("UPDATE knowledge_base SET embedding = %s WHERE chunk_text = 'text 2'", [theirs])
        return write(portion, batch)

    stats = embed(settings, database, FakeProvider(spoil=spoil))
    assert (stats.embedded, stats.skipped) == (3, 1)
    np.testing.assert_allclose(stored(database)["text 2"], theirs, atol=1e-7)


def test_prefixes_of_another_run_are_left_to_it(settings: Settings, database: Database):
    insert_chunks(database, texts(100))
    column = register_space(database, FAKE_SPACE)
    others = [text for text in texts(100) if hash_of(text)[0] in "3456"]
    with closing(PrefixLocks(database, column.space.name)) as locks:
        locks.acquire(range(0x30, 0x70))
        stats = embed(settings, database)
    assert stats.busy_prefixes == ["3", "4", "5", "6"]
    assert stats.embedded == 100 - len(others)
    assert_right(database, [text for text in texts(100) if text not in others])
    assert embed(settings, database).embedded == len(others)


def test_prefixes_are_given_back_after_a_run_and_after_a_failure(settings: Settings, database: Database):
    insert_chunks(database, texts(3))

    def fail(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        raise errors.ProviderError("gone")

    with pytest.raises(errors.ProviderError):
        embed(settings, database, FakeProvider(spoil=fail))
    stats = embed(settings, database)
    assert (stats.embedded, stats.busy_prefixes) == (3, [])
    assert embed(settings, database).busy_prefixes == []


@pytest.mark.parametrize("failure", [errors.ProviderError("gone"), RuntimeError("unforeseen"), KeyboardInterrupt()])
def test_what_was_committed_before_a_failure_stays(failure: BaseException, settings: Settings, database: Database):
    insert_chunks(database, texts(100))

    def fail_late(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if batch.indices[0] >= 48:
            raise failure
        return batch

    with pytest.raises(type(failure)):
        embed(settings, database, FakeProvider(spoil=fail_late), commit_seconds=1e-6)
    kept = set(stored(database))
    assert len(kept) == 48
    assert list_failures(database) == []

    provider = FakeProvider()
    assert embed(settings, database, provider).embedded == 52
    assert set(provider.seen) == set(texts(100)) - kept
    assert_right(database, texts(100))


def test_nothing_is_open_while_encoding(settings: Settings, database: Database, beside: psycopg.Connection):
    insert_chunks(database, texts(5))
    states: list[str] = []

    def look(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        time.sleep(0.2)  # the next window is fetched meanwhile
        states.extend(
            row[0]
            for row in beside.execute(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        return batch

    embed(settings, database, FakeProvider(spoil=look))
    assert set(states) == {"idle"}


def test_pooled_connections_lost_in_the_middle_are_replaced(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(200))
    kill = during(
        beside,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')",
    )
    assert embed(settings, database, FakeProvider(spoil=kill), window_size=64).embedded == 200
    assert_right(database, texts(200))
