"""Notes on changed rows: made for every writer, waited for by none."""

import psycopg
import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.source_records import register_source
from embedding_assets.postgres.source_trigger import unwatch, watch, watch_state
from embedding_assets.postgres.sources import Source, define_table, open_source


@pytest.fixture
def source(database: Database, beside: psycopg.Connection) -> Source:
    """A table of somebody's that is watched."""
    beside.execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text, lang text, data json, views int DEFAULT 0)")
    return watched(database, where="lang = 'en' OR views > 10", metadata=["data"])


def watched(database: Database, **said: object) -> Source:
    with database.session() as connection:
        definition = define_table(connection, "notes", text="body", **said)
        source = open_source(connection, definition)
        with connection.transaction():
            register_source(connection, definition, is_watched=True)
            watch(connection, database.table.records, source)
        return source


def noted(connection: psycopg.Connection) -> list[str | None]:
    """Keys that were noted, which are taken away."""
    rows = connection.execute("DELETE FROM synced_changes RETURNING key[1]").fetchall()
    return sorted((key for (key,) in rows), key=str)


def test_what_a_row_is_made_of_is_noted_and_nothing_else(source: Source, beside: psycopg.Connection):
    beside.execute("INSERT INTO notes VALUES (1, 'a', 'en', '{}'), (2, NULL, 'de', NULL)")
    assert noted(beside) == ["1", "2"]
    for change, keys in {
        "body = body": [],
        "views = views + 1": ["1", "2"],
        "lang = 'en'": ["2"],
        """data = '{"a": 1}'""": ["1", "2"],
        "body = 'b'": ["1", "2"],
        "id = id + 10": ["1", "11", "12", "2"],
    }.items():
        beside.execute(f"UPDATE notes SET {change}")
        # A condition's columns count, whether or not it comes out otherwise.
        assert sorted(set(noted(beside))) == keys, change
    beside.execute("DELETE FROM notes WHERE id = 12")
    assert noted(beside) == ["12"]
    beside.execute("TRUNCATE notes")
    assert noted(beside) == [None]


def test_a_foreign_key_that_cascades_is_noted(source: Source, beside: psycopg.Connection):
    beside.execute("CREATE TABLE shelves (lang text PRIMARY KEY); INSERT INTO shelves VALUES ('en')")
    beside.execute("INSERT INTO notes VALUES (1, 'a', 'en')")
    beside.execute("ALTER TABLE notes ADD FOREIGN KEY (lang) REFERENCES shelves ON DELETE CASCADE ON UPDATE CASCADE")
    noted(beside)
    beside.execute("UPDATE shelves SET lang = 'fr'")
    assert noted(beside) == ["1"]
    beside.execute("DELETE FROM shelves")
    assert noted(beside) == ["1"]


def test_writers_do_not_wait_for_each_other(source: Source, beside: psycopg.Connection, database_url: str):
    beside.execute("INSERT INTO notes VALUES (1, 'a'), (2, 'b')")
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as other:
        for connection, key in ((one, 1), (other, 2)):
            connection.execute("SET lock_timeout = '1s'")
            connection.execute("UPDATE notes SET body = 'x' WHERE id = %s", [key])
        # Nor for what a sync does with the notes.
        one.execute("SELECT count(*) FROM synced_changes")
        one.execute("DELETE FROM synced_changes WHERE id = ANY(SELECT id FROM synced_changes)")
        other.execute("UPDATE notes SET body = 'y' WHERE id = 2")


def test_others_cannot_call_the_function_and_it_takes_no_name_from_a_search_path(
    role: str, source: Source, beside: psycopg.Connection
):
    beside.execute(f"CREATE SCHEMA theirs AUTHORIZATION {role}; GRANT ALL ON notes TO {role}; SET ROLE {role}")
    beside.execute("CREATE TABLE theirs.synced_changes (source text, id int, key text[])")
    beside.execute("CREATE FUNCTION theirs.md5(text) RETURNS text LANGUAGE sql AS 'SELECT 1 / 0; SELECT $$x$$'")
    beside.execute("SET search_path = theirs, pg_catalog, public")
    beside.execute("INSERT INTO public.notes VALUES (1, 'a', 'en', '{}'); UPDATE public.notes SET body = 'b'")
    name = beside.execute("SELECT proname FROM pg_proc WHERE starts_with(proname, 'embedding_assets_note')").fetchone()[
        0
    ]
    beside.execute("CREATE TABLE theirs.own (id bigint)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        beside.execute(f"CREATE TRIGGER t AFTER TRUNCATE ON theirs.own EXECUTE FUNCTION public.{name}()")
    beside.execute("RESET ROLE; RESET search_path")
    assert noted(beside) == ["1", "1"]
    beside.execute(f"DROP OWNED BY {role}")


def test_names_are_quoted(database: Database, beside: psycopg.Connection):
    table = """"it's $note$ 50% "" note" """.strip()
    beside.execute(f"""CREATE TABLE {table} ("$note$ '%s" text PRIMARY KEY, "bo""dy %" text)""")
    with database.session() as connection:
        definition = define_table(connection, table, text='bo"dy %')
        with connection.transaction():
            watch(connection, database.table.records, open_source(connection, definition))
    beside.execute(f"INSERT INTO {table} VALUES ('k', 'text')")
    beside.execute(f"""UPDATE {table} SET "bo""dy %" = 'other'""")
    assert noted(beside) == ["k", "k"]


STATES = {
    "as it was put": ("SELECT 1", "there"),
    "dropped": ("DROP TRIGGER {trigger}_update ON notes", "missing"),
    "disabled": ("ALTER TABLE notes DISABLE TRIGGER {trigger}_insert", "missing"),
    "not for replicated rows": ("ALTER TABLE notes ENABLE TRIGGER {trigger}_delete", "missing"),
    "without the function": ("DROP FUNCTION {function} CASCADE", "missing"),
    "without the notes": ("DROP TABLE synced_changes", "missing"),
    "with the rights of another": ("ALTER FUNCTION {function} SECURITY INVOKER", "missing"),
}


@pytest.mark.parametrize(("change", "state"), STATES.values(), ids=STATES)
def test_the_state_of_the_triggers(
    source: Source, database: Database, beside: psycopg.Connection, change: str, state: str
):
    trigger = beside.execute(
        "SELECT min(tgname) FROM pg_trigger WHERE tgrelid = 'notes'::regclass AND NOT tgisinternal"
    ).fetchone()[0]
    function = beside.execute("SELECT tgfoid::regproc FROM pg_trigger WHERE tgname = %s", [trigger]).fetchone()[0]
    beside.execute(change.format(trigger=trigger.removesuffix("_delete"), function=function))
    with database.session() as connection:
        assert watch_state(connection, database.table.records, source) == state
    beside.execute("INSERT INTO notes VALUES (5, 'a'); UPDATE notes SET body = 'b'; DELETE FROM notes; TRUNCATE notes")


def test_putting_them_twice_and_taking_them_off(source: Source, database: Database, beside: psycopg.Connection):
    count = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'notes'::regclass AND NOT tgisinternal"
    watched(database)
    assert beside.execute(count).fetchone() == (4,)
    with database.session() as connection, connection.transaction():
        unwatch(connection, database.table.records, source.name)
    assert beside.execute(count).fetchone() == (0,)
