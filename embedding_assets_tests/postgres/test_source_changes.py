"""What differs between a source and what was loaded: found in one snapshot, at the cost of what is looked at."""

import json

import psycopg
import pytest

from embedding_assets.postgres import source_changes
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_changes import open_changes
from embedding_assets.postgres.source_records import register_source
from embedding_assets.postgres.sources import Source, define_table, open_source


@pytest.fixture
def source(database: Database, beside: psycopg.Connection) -> Source:
    """A table of 20,000 rows."""
    beside.execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
    beside.execute("INSERT INTO notes SELECT n, repeat('text ' || n, 50) FROM generate_series(1, 20000) n")
    beside.execute("ANALYZE notes")
    with database.session() as connection:
        definition = define_table(connection, "notes", text="body")
        register_source(connection, definition)
        return open_source(connection, definition)


def note(connection: psycopg.Connection, *keys: int) -> None:
    for key in keys:
        connection.execute("INSERT INTO synced_changes (source, key) VALUES ('public.notes', ARRAY[%s::text])", [key])


def test_noted_rows_are_found_by_their_key(
    source: Source, database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    note(beside, 5, 5, 77, 30_000)
    statements: list[object] = []
    original = source_changes.SourceChanges._declare
    monkeypatch.setattr(
        source_changes.SourceChanges,
        "_declare",
        lambda self, name, query: statements.append(query) or original(self, name, query),
    )
    with database.session() as connection:
        with open_changes(connection, source, "manner", noted=True) as changes:
            assert changes.rows == 3
            assert sorted(row.origin for row in changes.documents()) == ["public.notes/5", "public.notes/77"]
        for statement in statements[:2]:
            [[[plan]]] = connection.execute("EXPLAIN (FORMAT JSON) " + statement.as_string(connection)).fetchall()
            assert "Seq Scan" not in [node["Node Type"] for node in nodes(plan["Plan"]) if node.get("Alias") == "k"]
            assert "notes_pkey" in json.dumps(plan)


def nodes(plan: dict) -> list[dict]:
    return [plan, *(inner for part in plan.get("Plans", []) for inner in nodes(part))]


def test_a_comparison_is_of_one_snapshot_that_is_not_held(
    source: Source, database: Database, beside: psycopg.Connection
):
    note(beside, 1)
    with database.session() as connection, open_changes(connection, source, "manner", noted=False) as changes:
        beside.execute("UPDATE notes SET body = 'later'; DELETE FROM notes WHERE id > 100")
        note(beside, 2)
        held = "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid = %s"
        assert beside.execute(held, [connection.info.backend_pid]).fetchone() == (0,)
        found = [row.text for row in changes.documents()]
        assert (len(found), "later" in found) == (20_000, False)
        changes.remove_notes()
    assert beside.execute("SELECT key FROM synced_changes").fetchall() == [(["2"],)]
    with database.session() as connection, open_changes(connection, source, "manner", noted=False) as changes:
        assert changes.rows == 100
