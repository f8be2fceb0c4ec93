"""Rows of a table as documents, kept in step with it."""

import psycopg
import pytest

from embedding_assets.config import Settings
from embedding_assets.documents.loading import configured_splitter
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.splitting import Splitter
from embedding_assets.documents.syncing import SyncReport, add_source, sync_source
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_lookup import define_query
from embedding_assets.postgres.source_records import summarize_sources
from embedding_assets_tests.support.syncing import (
    ARTICLES,
    add,
    chunks,
    embed,
    notes,
    paragraphs_pending,
    sentences,
    texts,
)


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


def test_broken_front_matter_of_a_row_neither_ends_the_sync_nor_loses_the_row(
    articles, database: Database, splitter: Splitter
):
    text = f"+++\nnumber = {'9' * 5_000}\n+++\n# Setup\n\nwords\n"
    articles.execute("UPDATE shop.articles SET body = %s WHERE id = 1", [text])
    name = add(database, markdown=True)
    assert (sync_source(database, name, splitter).added, texts(database)[f"{name}/1"]) == (3, "words")


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
        "long": "is longer than 1,000,000 characters that form no words",
        "longer": "is longer than 4 MB",
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
