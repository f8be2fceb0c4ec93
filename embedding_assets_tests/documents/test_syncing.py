"""Rows of a table as documents, kept in step with it."""

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
from embedding_assets.documents.loading import ChunkWriter, configured_splitter, load_documents
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.splitting import Splitter
from embedding_assets.documents.syncing import SyncReport, add_source, remove_source, sync_source
from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.models import DocumentMetadata
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_records import summarize_sources
from embedding_assets.postgres.sources import define_query, define_table
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import FakeProvider

ARTICLES = "shop.articles"
OURS = """
    SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'shop.articles'::regclass),
           (SELECT count(*) FROM pg_proc WHERE starts_with(proname, 'embedding_assets_note'))
"""
"""Triggers and functions that notes are made with."""


@pytest.fixture
def splitter(settings: Settings, database: Database) -> Splitter:
    return configured_splitter(settings.with_embedding(chunk_tokens=32), database)


@pytest.fixture
def articles(beside: psycopg.Connection) -> psycopg.Connection:
    """Somebody's table of three rows, and their connection."""
    beside.execute("CREATE SCHEMA shop")
    beside.execute("CREATE TABLE shop.articles (id bigint PRIMARY KEY, title text, body text, lang text, views int)")
    beside.execute("INSERT INTO shop.articles VALUES (1, 'One', 'alpha', 'en', 0), (2, 'Two', 'beta', 'de', 0)")
    beside.execute("INSERT INTO shop.articles VALUES (3, NULL, 'gamma', 'en', 0)")
    return beside


def add(database: Database, relation: str = ARTICLES, *, watched: bool | None = None, **said: object) -> str:
    with database.session() as connection:
        definition = define_table(connection, relation, **{"text": "body", **said})
    add_source(database, definition, watched=watched)
    return definition.name


def chunks(database: Database) -> list[tuple[str, str, bool]]:
    """Origin, text, whether embedded."""
    query = """
        SELECT document_metadata ->> 'origin', chunk_text, embedding IS NOT NULL FROM knowledge_base
        ORDER BY 1, chunk_index
    """
    return database.run(lambda connection: connection.execute(query).fetchall())


def texts(database: Database) -> dict[str, str]:
    return {origin: text for origin, text, _ in chunks(database)}


def notes(database: Database) -> int:
    return database.run(lambda connection: connection.execute("SELECT count(*) FROM synced_changes").fetchone())[0]


def embed(settings: Settings, database: Database) -> int:
    return EmbeddingGenerator(settings, database=database, provider=FakeProvider()).generate_embeddings_batch().embedded


def sentences(*words: str) -> str:
    """A text that becomes several chunks."""
    return "\n\n".join(f"About {word} there is one thing to say, and here it is, in a paragraph." for word in words)


def paragraphs_pending(database: Database) -> list[str]:
    return [text for _, text, is_embedded in chunks(database) if not is_embedded]


def test_rows_become_documents_with_title_and_metadata(articles, database: Database, splitter: Splitter):
    name = add(database, title="title", metadata=["lang", "views"], where="lang = 'en'")
    assert name == ARTICLES
    assert sync_source(database, name, splitter) == SyncReport(name, rows=2, added=2, chunks_added=2)
    found = database.run(
        lambda connection: connection.execute(
            "SELECT document_metadata, context_header, chunk_text FROM knowledge_base ORDER BY chunk_text"
        ).fetchall()
    )
    first = {"source": "shop.articles/1", "origin": "shop.articles/1", "title": "One", "lang": "en", "views": 0}
    second = {"source": "shop.articles/3", "origin": "shop.articles/3", "title": "", "lang": "en", "views": 0}
    assert found == [(first, "One", "alpha"), (second, "", "gamma")]
    assert sync_source(database, name, splitter) == SyncReport(name, rows=2)


@pytest.mark.parametrize("watched", [False, True])
def test_every_change_of_the_source_is_followed(articles, database: Database, splitter: Splitter, watched: bool):
    name = add(database, title="title", watched=watched)

    def sync() -> SyncReport:
        report = sync_source(database, name, splitter)
        assert report.noted == (watched and not report.remark)
        assert notes(database) == 0
        return report

    assert sync().added == 3
    articles.execute("UPDATE shop.articles SET body = 'ALPHA' WHERE id = 1")
    articles.execute("UPDATE shop.articles SET title = 'A title' WHERE id = 3")
    assert (sync().changed, texts(database)[f"{name}/1"]) == (2, "ALPHA")
    articles.execute("INSERT INTO shop.articles VALUES (4, 'Four', 'delta') ON CONFLICT DO NOTHING")
    articles.execute("INSERT INTO shop.articles VALUES (1) ON CONFLICT (id) DO UPDATE SET body = 'alpha again'")
    articles.execute("DELETE FROM shop.articles WHERE id = 2")
    report = sync()
    assert (report.added, report.changed, report.removed) == (1, 1, 1)
    articles.execute("UPDATE shop.articles SET id = 40 WHERE id = 4")
    report = sync()
    assert (report.added, report.removed) == (1, 1)
    assert texts(database) == {f"{name}/1": "alpha again", f"{name}/3": "gamma", f"{name}/40": "delta"}
    with articles.cursor().copy("COPY shop.articles (id, body) FROM STDIN") as copy:
        copy.write_row((5, "epsilon"))
    with articles.transaction(force_rollback=True):
        articles.execute("DELETE FROM shop.articles")
    assert (sync().added, len(chunks(database))) == (1, 4)
    articles.execute("SET session_replication_role = replica")
    articles.execute("TRUNCATE shop.articles")
    articles.execute("INSERT INTO shop.articles VALUES (1, 'One', 'after')")
    report = sync()
    assert (report.removed, report.changed, texts(database)) == (3, 1, {f"{name}/1": "after"})
    assert (sync().rows, sync().changed) == (0 if watched else 1, 0)


def test_an_update_of_other_columns_is_not_noted(articles, database: Database, splitter: Splitter):
    add(database, title="title", where="views < 10", watched=True)
    sync_source(database, ARTICLES, splitter)
    articles.execute("UPDATE shop.articles SET lang = 'fr'")
    articles.execute("UPDATE shop.articles SET body = body")
    assert notes(database) == 0
    articles.execute("UPDATE shop.articles SET views = 10 WHERE id = 1")
    report = sync_source(database, ARTICLES, splitter)
    assert (report.noted, report.rows, report.removed) == (True, 1, 1)
    assert sorted(texts(database)) == [f"{ARTICLES}/2", f"{ARTICLES}/3"]


def test_of_many_rows_only_the_changed_one_is_split_and_only_its_changed_chunks_become_pending(
    articles, settings: Settings, database: Database, splitter: Splitter, monkeypatch: pytest.MonkeyPatch
):
    articles.execute("INSERT INTO shop.articles SELECT n, 'T', 'row ' || n FROM generate_series(10, 20000) n")
    articles.execute("UPDATE shop.articles SET body = %s WHERE id = 15000", [sentences("one", "two", "three")])
    name = add(database)
    sync_source(database, name, splitter)
    articles.execute("UPDATE knowledge_base SET embedding = array_fill(1, ARRAY[768])::vector")
    articles.execute("UPDATE shop.articles SET body = %s WHERE id = 15000", [sentences("one", "new", "three")])
    split: list[str] = []
    original = Splitter.split
    monkeypatch.setattr(Splitter, "split", lambda self, one: split.append(one.metadata.origin) or original(self, one))
    report = sync_source(database, name, splitter)
    assert split == [f"{name}/15000"]
    assert (report.rows, report.changed, report.chunks_added, report.chunks_removed) == (19_994, 1, 1, 1)
    assert paragraphs_pending(database) == [sentences("new")]


def test_chunks_that_stay_keep_their_vectors(articles, settings: Settings, database: Database, splitter: Splitter):
    articles.execute("UPDATE shop.articles SET body = %s WHERE id = 1", [sentences("one", "two", "three")])
    name = add(database)
    sync_source(database, name, splitter)
    assert embed(settings, database) == 5
    articles.execute("UPDATE shop.articles SET body = %s WHERE id = 1", [sentences("zero", "one", "two", "three")])
    assert sync_source(database, name, splitter).chunks_added == 1
    assert paragraphs_pending(database) == [sentences("zero")]


def test_other_settings_of_splitting_make_every_document_again(
    articles, settings: Settings, database: Database, splitter: Splitter
):
    articles.execute("UPDATE shop.articles SET body = %s WHERE id = 1", [sentences("one", "two", "three")])
    add(database, watched=True)
    sync_source(database, ARTICLES, splitter)
    assert len(chunks(database)) == 5
    coarse = configured_splitter(settings.with_embedding(chunk_tokens=256), database)
    report = sync_source(database, ARTICLES, coarse)
    assert (report.noted, report.changed, report.remark) == (False, 3, "texts are split in another way than before")
    assert len(chunks(database)) == 3
    assert sync_source(database, ARTICLES, coarse) == SyncReport(ARTICLES, noted=True)


def test_several_sources_feed_one_table_and_equal_texts_are_chunks_of_their_own(
    articles, database: Database, splitter: Splitter
):
    articles.execute("CREATE TABLE shop.articles_2 (id bigint PRIMARY KEY, body text)")
    articles.execute("INSERT INTO shop.articles_2 VALUES (1, 'alpha'), (2, 'alpha')")
    for name in (add(database), add(database, "shop.articles_2")):
        sync_source(database, name, splitter)
    assert texts(database) == {
        "shop.articles/1": "alpha",
        "shop.articles/2": "beta",
        "shop.articles/3": "gamma",
        "shop.articles_2/1": "alpha",
        "shop.articles_2/2": "alpha",
    }
    articles.execute("TRUNCATE shop.articles")
    assert sync_source(database, ARTICLES, splitter).removed == 3
    assert sync_source(database, "shop.articles_2", splitter) == SyncReport("shop.articles_2", rows=2)
    assert [(one.name, one.documents, one.chunks) for one in summarize_sources(database)] == [
        ("shop.articles", 0, 0),
        ("shop.articles_2", 2, 2),
    ]


NOTES = '"My Shop"."50% ""Notes"""'

KEYS = {
    "bigint": ("id bigint PRIMARY KEY", ["id"], "(7)", "7"),
    "uuid": (
        "id uuid PRIMARY KEY",
        ["id"],
        "('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11')",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    "text and integer": ("a text, b int, PRIMARY KEY (a, b)", ["a", "b"], r"('x,y\z/%', 5)", r"x\,y\\z/%,5"),
    "timestamptz": (
        "at timestamptz PRIMARY KEY",
        ["at"],
        "('2024-03-01 12:00+02')",
        "2024-03-01 10:00:00+00",
    ),
    "character": ("c character(5) PRIMARY KEY", ["c"], "('ab')", "ab"),
    "other collation": ('c text COLLATE "C" PRIMARY KEY', ["c"], "('ä')", "ä"),
    "bytea": ("c bytea PRIMARY KEY", ["c"], r"('\x00ff')", r"\\x00ff"),
}


@pytest.mark.parametrize(("columns", "key", "value", "text"), KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("watched", [False, True])
def test_keys_of_any_type(
    beside: psycopg.Connection,
    database: Database,
    splitter: Splitter,
    columns: str,
    key: list[str],
    value: str,
    text: str,
    watched: bool,
):
    beside.execute("SET DateStyle = 'German'; SET TimeZone = 'Asia/Tokyo'; SET bytea_output = 'escape'")
    beside.execute('CREATE SCHEMA "My Shop"')
    beside.execute(f'CREATE TABLE {NOTES} ("Te%xt" text, {columns})')
    name = add(database, NOTES, text="Te%xt", watched=watched)
    sync_source(database, name, splitter)
    beside.execute(f"INSERT INTO {NOTES} ({', '.join(key)}) VALUES {value}")
    beside.execute(f"UPDATE {NOTES} SET \"Te%xt\" = 'some text'")
    assert sync_source(database, name, splitter).added == 1
    assert texts(database) == {f"{NOTES}/{text}": "some text"}
    beside.execute(f"UPDATE {NOTES} SET \"Te%xt\" = 'other text'")
    report = sync_source(database, name, splitter)
    assert (report.noted, report.changed, report.removed) == (watched, 1, 0)
    beside.execute(f"DELETE FROM {NOTES}")
    assert sync_source(database, name, splitter).removed == 1
    assert chunks(database) == []
    assert notes(database) == 0


def test_a_query_is_a_source(articles, database: Database, splitter: Splitter):
    articles.execute("CREATE TABLE shop.authors (article bigint, author text)")
    articles.execute("INSERT INTO shop.authors VALUES (1, 'Ann'), (2, 'Bob')")
    query = """
        SELECT a.id AS key, a.body || ' by 100% ' || author AS text, title, author, 'https://a/' || id AS source
        FROM shop.articles a JOIN shop.authors ON article = id -- all of them
        ;
    """
    with database.session() as connection:
        definition = define_query(connection, "written", query)
    add_source(database, definition)
    assert sync_source(database, "written", splitter) == SyncReport("written", rows=2, added=2, chunks_added=2)
    assert texts(database) == {"written/1": "alpha by 100% Ann", "written/2": "beta by 100% Bob"}
    articles.execute("UPDATE shop.authors SET author = 'Cy' WHERE article = 2")
    articles.execute("DELETE FROM shop.articles WHERE id = 1")
    report = sync_source(database, "written", splitter)
    assert (report.changed, report.removed) == (1, 1)
    metadata = articles.execute("SELECT document_metadata FROM knowledge_base").fetchall()
    assert metadata == [({"origin": "written/2", "source": "https://a/2", "title": "Two", "author": "Cy"},)]


def test_rows_that_cannot_be_documents_are_named_and_the_rest_goes_on(articles, database: Database, splitter: Splitter):
    articles.execute("CREATE TABLE shop.odd (id text, body text, data jsonb)")
    rows = {
        "fine": ("text", "{}"),
        "null": (None, "{}"),
        "blank": (" \n", "{}"),
        "long": ("x" * 1_000_001, "{}"),
        "longer": ("x" * 4_000_001, "{}"),
        "k" * 2100: ("text", "{}"),
        "digits": ("text", '{"n": ' + "9" * 5000 + "}"),
    }
    for key, (body, data) in rows.items():
        articles.execute("INSERT INTO shop.odd VALUES (%s, %s, %s)", [key, body, data])
    articles.execute("INSERT INTO shop.odd VALUES (NULL, 'text')")
    name = add(database, "shop.odd", key=["id"], metadata=["data"])
    rejections: list[Rejection] = []
    report = sync_source(database, name, splitter, on_reject=rejections.append)
    assert (report.rows, report.added, report.rejected, list(texts(database))) == (8, 1, 7, ["shop.odd/fine"])
    reasons = {one.source.removeprefix("shop.odd/")[:10]: one.reason for one in rejections}
    assert reasons == {
        "shop.odd": "has NULL in the key of 1 row",
        "null": "has an empty or blank text",
        "blank": "has an empty or blank text",
        "long": "is longer than 1,000,000 characters",
        "longer": "is longer than 1,000,000 characters",
        "k" * 10: "has a key that is too long",
        "digits": "has metadata that JSON does not hold, such as a number that is too large",
    }
    assert summarize_sources(database)[0].rejected == 5
    # Only what has no place in the record is looked at once more.
    assert sync_source(database, name, splitter).rejected == 2
    articles.execute("UPDATE shop.odd SET body = 'text' WHERE id = 'null'")
    articles.execute("UPDATE shop.odd SET body = '' WHERE id = 'fine'")
    sync_source(database, name, splitter)
    assert list(texts(database)) == ["shop.odd/null"]


def test_a_key_that_identifies_no_row_is_refused(articles, database: Database, splitter: Splitter):
    name = add(database, key=["lang"])
    with pytest.raises(ConfigurationError, match=r"1 rows of shop[.]articles have the key of another row"):
        sync_source(database, name, splitter)
    assert chunks(database) == []


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
from embedding_assets.documents import loading
from embedding_assets.documents.syncing import sync_source
from embedding_assets.postgres.bootstrap import open_database
loading._BATCH_CHUNKS = 10
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
    _, errors = killed.communicate(timeout=60)
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
    assert len(kept) > 100
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
