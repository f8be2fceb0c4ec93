"""Names and fingerprints of documents that are rows."""

import hashlib

import psycopg
import pytest
from psycopg import sql

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_records import find_source, list_sources, register_source
from embedding_assets.postgres.sources import (
    SourceDefinition,
    define_table,
    document_digest,
    fix_text_forms,
    open_source,
)


@pytest.fixture
def notes(database: Database, beside: psycopg.Connection) -> SourceDefinition:
    """A table with two columns of metadata and a template for its text."""
    beside.execute(
        "CREATE TABLE notes (a text, b int, title text, intro text, body text, at timestamptz, PRIMARY KEY (a, b))"
    )
    beside.execute("INSERT INTO notes VALUES ('x,1', 2, 'T', 'hello', 'world', '2024-01-02 03:04+00')")
    with database.session() as connection:
        return define_table(
            connection, "notes", text=r"{intro}\n{body}", title="title", metadata=["at", "b"], where="b > 0 -- all"
        )


def test_origin_and_digest_are_as_others_may_compute_them(
    notes: SourceDefinition, database: Database, beside: psycopg.Connection
):
    with database.session() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        fix_text_forms(connection)
        source = open_source(connection, notes)
        query = sql.SQL("SELECT origin, title, text, metadata, {} FROM (SELECT {} FROM {} k) s").format(
            document_digest("manner"), source.documents(), source.rows
        )
        metadata = {"at": "2024-01-02T03:04:00+00:00", "b": 2}
        text = '["T", "hello\\nworld", {"b": 2, "at": "2024-01-02T03:04:00+00:00"}]'
        digest = f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}:manner"
        assert connection.execute(query, []).fetchall() == [
            ("public.notes/x\\,1,2", "T", "hello\nworld", metadata, digest)
        ]


def test_a_definition_is_kept_as_it_is_and_a_new_one_has_the_source_compared(
    notes: SourceDefinition, database: Database, beside: psycopg.Connection
):
    with database.session() as connection:
        register_source(connection, notes)
        assert find_source(connection, "public.notes").definition == notes
        beside.execute("UPDATE synced_sources SET compared_oid = 5")
        register_source(connection, notes)
        assert [one.compared_oid for one in list_sources(connection)] == [5]
        register_source(connection, notes, is_watched=True)
        assert [one.compared_oid for one in list_sources(connection)] == [None]


def test_metadata_of_many_columns(database: Database, beside: psycopg.Connection):
    columns = [f"c{number}" for number in range(130)]
    beside.execute(
        f"CREATE TABLE wide (id int PRIMARY KEY, body text, {', '.join(f'{one} int DEFAULT 1' for one in columns)})"
    )
    beside.execute("INSERT INTO wide VALUES (1, 'text')")
    with database.session() as connection:
        source = open_source(connection, define_table(connection, "wide", text="body", metadata=columns))
        query = sql.SQL("SELECT {} FROM {} k").format(source.metadata(), source.rows)
        assert connection.execute(query, []).fetchone() == (dict.fromkeys(columns, 1),)
