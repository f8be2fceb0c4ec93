"""A source and its sync, stopped, swapped, written to meanwhile, without rights: never wrong in silence."""

import signal
import subprocess
import sys
import threading
from contextlib import closing

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import Settings, get_settings
from embedding_assets.documents import syncing
from embedding_assets.documents.document import Document
from embedding_assets.documents.loading import configured_splitter, load_documents
from embedding_assets.documents.splitting import Splitter
from embedding_assets.documents.syncing import SyncReport, remove_source, sync_source
from embedding_assets.documents.writing import ChunkWriter
from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.models import DocumentMetadata
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_records import summarize_sources
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.syncing import (
    ARTICLES,
    OURS,
    add,
    chunks,
    notes,
    texts,
)


def test_a_lost_chunk_table_is_filled_again(articles, database: Database, splitter: Splitter):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("TRUNCATE knowledge_base")
    report = sync_source(database, ARTICLES, splitter)
    assert (report.changed, len(chunks(database))) == (3, 3)
    assert "chunks of it are gone" in report.remark


def test_a_table_swapped_or_restored_without_its_triggers_is_compared(articles, database: Database, splitter: Splitter):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("CREATE TABLE shop.next (LIKE shop.articles INCLUDING ALL)")
    articles.execute("INSERT INTO shop.next VALUES (1, 'One', 'alpha'), (9, 'Nine', 'iota')")
    articles.execute("ALTER TABLE shop.articles RENAME TO articles_before; ALTER TABLE shop.next RENAME TO articles")
    report = sync_source(database, ARTICLES, splitter)
    assert (report.noted, report.added, report.removed, report.rows) == (False, 1, 2, 2)
    assert "triggers were gone or disabled" in report.remark
    articles.execute("UPDATE shop.articles SET body = 'iota!' WHERE id = 9")
    assert (sync_source(database, ARTICLES, splitter).noted, texts(database)[f"{ARTICLES}/9"]) == (True, "iota!")
    # As pg_restore --disable-triggers leaves them.
    articles.execute("ALTER TABLE shop.articles DISABLE TRIGGER ALL")
    articles.execute("UPDATE shop.articles SET body = 'unseen' WHERE id = 9")
    articles.execute("ALTER TABLE shop.articles ENABLE TRIGGER ALL")
    report = sync_source(database, ARTICLES, splitter)
    assert (report.noted, texts(database)[f"{ARTICLES}/9"]) == (False, "unseen")
    assert sync_source(database, ARTICLES, splitter).noted


def test_a_stop_after_the_triggers_were_put_back_still_leads_to_a_comparison(
    articles, database: Database, splitter: Splitter, monkeypatch: pytest.MonkeyPatch
):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("ALTER TABLE shop.articles DISABLE TRIGGER ALL")
    articles.execute("UPDATE shop.articles SET body = 'unseen' WHERE id = 1")
    with monkeypatch.context() as patch:
        patch.setattr(syncing, "open_changes", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            sync_source(database, ARTICLES, splitter)
    assert sync_source(database, ARTICLES, splitter).changed == 1


def test_changes_before_it_was_watched_are_found(articles, database: Database, splitter: Splitter):
    add(database)
    sync_source(database, ARTICLES, splitter)
    articles.execute("UPDATE shop.articles SET body = 'unseen' WHERE id = 1")
    add(database, watched=True)
    assert sync_source(database, ARTICLES, splitter).changed == 1
    add(database, title="title")
    assert sync_source(database, ARTICLES, splitter).changed == 2
    articles.execute("UPDATE shop.articles SET title = 'now noted' WHERE id = 2")
    report = sync_source(database, ARTICLES, splitter)
    assert (report.noted, report.changed) == (True, 1)
    add(database, watched=False)
    assert articles.execute(OURS).fetchone() == (0, 0)


def test_a_renamed_column_fails_the_sync_and_no_writer(articles, database: Database, splitter: Splitter):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("UPDATE shop.articles SET body = 'x' WHERE id = 1")
    articles.execute("ALTER TABLE shop.articles RENAME COLUMN body TO content")
    articles.execute("UPDATE shop.articles SET content = 'renamed' WHERE id = 1")
    articles.execute("INSERT INTO shop.articles VALUES (8, 'Eight', 'theta')")
    with pytest.raises(ConfigurationError, match="has no column body"):
        sync_source(database, ARTICLES, splitter)
    add(database, text="content")
    sync_source(database, ARTICLES, splitter)
    assert texts(database)[f"{ARTICLES}/1"] == "renamed"
    articles.execute("UPDATE shop.articles SET content = 'noted' WHERE id = 8")
    assert sync_source(database, ARTICLES, splitter).noted


def test_writers_go_on_without_what_is_ours(articles, database: Database, splitter: Splitter):
    add(database, watched=True)
    articles.execute("DROP TABLE synced_changes")
    articles.execute("INSERT INTO shop.articles VALUES (8, 'Eight', 'theta'); TRUNCATE shop.articles")


def test_a_writer_needs_no_right_on_the_notes(role: str, articles, database: Database, splitter: Splitter):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute(f"GRANT USAGE ON SCHEMA shop TO {role}; GRANT ALL ON shop.articles TO {role}; SET ROLE {role}")
    articles.execute("UPDATE shop.articles SET body = 'theirs' WHERE id = 1")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        articles.execute("DELETE FROM synced_changes")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        articles.execute("SELECT count(*) FROM synced_changes")
    articles.execute("RESET ROLE")
    report = sync_source(database, ARTICLES, splitter)
    assert (report.noted, report.changed) == (True, 1)


def test_a_role_that_may_only_read_the_source(
    role: str, empty_url: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", make_conninfo(empty_url, user=role))
    with closing(psycopg.connect(empty_url, autocommit=True)) as owner:
        owner.execute("CREATE EXTENSION vector; CREATE SCHEMA shop; CREATE SCHEMA search")
        owner.execute("CREATE TABLE shop.articles (id int PRIMARY KEY, body text)")
        owner.execute("INSERT INTO shop.articles VALUES (1, 'alpha'), (2, 'beta')")
        owner.execute(f"GRANT USAGE, CREATE ON SCHEMA search TO {role}; GRANT USAGE ON SCHEMA shop TO {role}")
        owner.execute(f"ALTER ROLE {role} SET search_path = search, public")
        with open_database(get_settings()) as database:
            with pytest.raises(DatabasePermissionError, match=r"GRANT SELECT ON shop[.]articles TO role_"):
                add(database)
            owner.execute(f"GRANT SELECT ON shop.articles TO {role}")
            with pytest.raises(DatabasePermissionError, match="only its owner may put a trigger"):
                add(database, watched=True)
            add(database)
            splitter = configured_splitter(settings, database)
            assert sync_source(database, ARTICLES, splitter).added == 2
            owner.execute("UPDATE shop.articles SET body = 'changed' WHERE id = 1")
            assert sync_source(database, ARTICLES, splitter).changed == 1
            owner.execute("ALTER TABLE shop.articles ENABLE ROW LEVEL SECURITY")
            with pytest.raises(DatabasePermissionError, match="row-level security"):
                sync_source(database, ARTICLES, splitter)
            assert len(texts(database)) == 2


def test_forgetting_removes_chunks_notes_and_triggers(articles, database: Database, splitter: Splitter):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("UPDATE shop.articles SET body = 'noted'")
    assert remove_source(database, ARTICLES) == (3, 3)
    assert (chunks(database), notes(database), summarize_sources(database)) == ([], 0, [])
    assert articles.execute(OURS).fetchone() == (0, 0)
    with pytest.raises(ConfigurationError, match=r"there is no source shop[.]articles"):
        remove_source(database, ARTICLES)


def test_a_source_that_is_gone_keeps_its_documents_until_it_is_forgotten(
    articles, database: Database, splitter: Splitter
):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("DROP TABLE shop.articles")
    with pytest.raises(ConfigurationError, match="is not there any more"):
        sync_source(database, ARTICLES, splitter)
    assert len(chunks(database)) == 3
    assert remove_source(database, ARTICLES) == (3, 3)


KILLED = """
import os, signal, sys
from embedding_assets.config import get_settings
from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents import writing
from embedding_assets.documents.syncing import sync_source
from embedding_assets.postgres.bootstrap import open_database
writing._BATCH_CHUNKS = 10
settings = get_settings()
with open_database(settings) as database:
    sync_source(database, "shop.articles", configured_splitter(settings.with_embedding(chunk_tokens=32), database),
                on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.parametrize("watched", [False, True])
def test_a_killed_sync_is_completed_by_the_next(articles, database: Database, splitter: Splitter, watched: bool):
    add(database, watched=watched)
    sync_source(database, ARTICLES, splitter)
    articles.execute("INSERT INTO shop.articles SELECT n, 'T', 'row ' || n FROM generate_series(10, 59) n")
    articles.execute("DELETE FROM shop.articles WHERE id = 2")
    killed = processes.start([sys.executable, "-c", KILLED], stderr=subprocess.PIPE, text=True)
    _, errors = killed.communicate(timeout=180)
    assert killed.returncode == -signal.SIGKILL, errors
    assert len(chunks(database)) == 13
    # One of those that it had stored already goes before the next.
    stored = {origin.removeprefix("shop.articles/") for origin in texts(database)} - {"1", "2", "3"}
    articles.execute("DELETE FROM shop.articles WHERE id = ANY(%s::bigint[])", [[min(stored), max(stored)]])
    report = sync_source(database, ARTICLES, splitter)
    assert (report.noted, report.added, report.removed, len(chunks(database))) == (watched, 40, 3, 50)
    assert notes(database) == 0


def test_a_change_during_a_sync_is_the_next_ones(
    articles, database: Database, splitter: Splitter, monkeypatch: pytest.MonkeyPatch
):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("UPDATE shop.articles SET body = 'first' WHERE id = 1")
    original = ChunkWriter.flush

    def flush(self: ChunkWriter) -> None:
        articles.execute("UPDATE shop.articles SET body = 'second' WHERE id = 1")
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(ChunkWriter, "flush", flush)
        sync_source(database, ARTICLES, splitter)
    assert (texts(database)[f"{ARTICLES}/1"], notes(database)) == ("first", 1)
    assert sync_source(database, ARTICLES, splitter).rows == 1
    assert (texts(database)[f"{ARTICLES}/1"], notes(database)) == ("second", 0)


def test_a_note_that_is_committed_late_is_not_lost(articles, database_url: str, database: Database, splitter: Splitter):
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    with psycopg.connect(database_url) as slow:
        slow.execute("UPDATE shop.articles SET body = 'slow' WHERE id = 1")
        articles.execute("UPDATE shop.articles SET body = 'quick' WHERE id = 2")
        assert sync_source(database, ARTICLES, splitter).rows == 1
        slow.commit()
    assert sync_source(database, ARTICLES, splitter).rows == 1
    assert texts(database)[f"{ARTICLES}/1"] == "slow"


def test_two_syncs_at_once(articles, settings: Settings, database: Database, splitter: Splitter):
    articles.execute("INSERT INTO shop.articles SELECT n, 'T', 'row ' || n FROM generate_series(10, 1000) n")
    add(database)
    reports: list[SyncReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(sync_source(database, ARTICLES, splitter))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.added for report in reports) == [0, 994]


WRITER = """
import random, sys, time
import psycopg
random.seed(5)
end = time.monotonic() + 5
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    while time.monotonic() < end:
        key, words = random.randrange(300), " ".join(random.choices(["red", "green", "blue"], k=60))
        action = random.random()
        with connection.transaction():
            if action < 0.4:
                connection.execute("INSERT INTO shop.articles VALUES (%s, 'T', %s) "
                    "ON CONFLICT (id) DO UPDATE SET body = excluded.body", [key, words])
            elif action < 0.7:
                connection.execute("UPDATE shop.articles SET body = body || %s WHERE id = %s", [words, key])
            elif action < 0.9:
                connection.execute("DELETE FROM shop.articles WHERE id = %s", [key])
            elif action < 0.99:
                connection.execute("DELETE FROM shop.articles WHERE id = %s", [key])
                connection.execute("INSERT INTO shop.articles VALUES (%s, NULL, %s)", [key, words])
            else:
                connection.execute("DELETE FROM shop.articles WHERE id = %s", [key + 1000])
                connection.execute("UPDATE shop.articles SET id = id + 1000 WHERE id = %s", [key])
        if action < 0.002:
            connection.execute("TRUNCATE shop.articles")
    # Whatever was deleted last.
    connection.execute("INSERT INTO shop.articles SELECT n, 'T', 'words of ' || n FROM generate_series(9000, 9030) n")
"""


@pytest.mark.parametrize("watched", [False, True])
def test_a_writer_beside(
    articles, database_url: str, database: Database, splitter: Splitter, server_url: str, template: str, watched: bool
):
    add(database, title="title", watched=watched)
    writer = processes.start([sys.executable, "-c", WRITER, database_url], stderr=subprocess.PIPE, text=True)
    rounds = 0
    while writer.poll() is None:
        sync_source(database, ARTICLES, splitter)
        rounds += 1
    assert (writer.returncode, writer.stderr.read()) == (0, "")
    assert rounds > 1
    sync_source(database, ARTICLES, splitter)
    columns = "chunk_hash, chunk_text, context_header, document_metadata, chunk_index, total_chunks, token_count"
    query = f"SELECT {columns} FROM knowledge_base ORDER BY 1"
    kept = database.run(lambda connection: connection.execute(query).fetchall())
    assert len(kept) > 20
    database.run(lambda connection: connection.execute("TRUNCATE knowledge_base, loaded_documents"))
    sync_source(database, ARTICLES, splitter, full=True)
    assert database.run(lambda connection: connection.execute(query).fetchall()) == kept
    assert notes(database) == 0


def test_rows_and_loaded_documents_keep_their_names_apart(articles, database: Database, splitter: Splitter):
    def load(origin: str) -> None:
        load_documents(database, [Document(DocumentMetadata(source=origin), "A text.", markdown=False)], splitter)

    load("shop.articles/1")
    with pytest.raises(ConfigurationError, match=r"origins begin with shop[.]articles/"):
        add(database)
    articles.execute("TRUNCATE loaded_documents, knowledge_base")
    add(database)
    with pytest.raises(ConfigurationError, match=r"would be taken for a row of the source shop[.]articles"):
        load("shop.articles/9")
    load("shop.articles_of_others/9")
    sync_source(database, ARTICLES, splitter)
    assert len(texts(database)) == 4
