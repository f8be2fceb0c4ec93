"""What others do to their table while it is adopted: nothing of it fails, or leaves a vector of another text."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import Settings, TableConfig
from embedding_assets.errors import ConfigurationError, DatabaseError, TableRefusesError
from embedding_assets.postgres.adopting import plan_undoing, undo_adoption
from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import list_failures
from embedding_assets.postgres.index.lifecycle import build_indexes
from embedding_assets.postgres.lookup import list_adopted
from embedding_assets.postgres.spaces import register_space, serving_space
from embedding_assets_tests.support.fakes import FakeProvider
from embedding_assets_tests.support.shop import (
    BIGINT,
    PARTITIONED,
    SPACE,
    Shop,
    adopt_shop,
    embed,
    fill,
    opened,
    stale,
)

TRIGGER = "zzz_embedding_assets_text_changed"


def prepared(connection: psycopg.Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


@pytest.fixture
def pending(settings: Settings, beside: psycopg.Connection) -> Callable[..., Settings]:
    """Adopt a table of twenty rows, prepared by statements."""

    def pending(*statements: str, shop: Shop = BIGINT, **config: object) -> Settings:
        fill(beside, shop, 20)
        prepared(beside, *statements)
        return adopt_shop(settings, shop, **config)

    return pending


def test_an_edit_that_is_under_way_when_a_column_is_taken(
    pending: Callable[..., Settings], beside: psycopg.Connection, database_url: str
):
    settings = pending("ALTER TABLE notes ADD vec vector(8)", column="vec")

    def edit() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE notes SET body = body || '!' || left(pg_sleep(0.1)::text, 0)")

    thread = threading.Thread(target=edit)
    with opened(settings) as database:
        thread.start()
        time.sleep(0.5)
        embed(settings, database)
        thread.join()
        embed(settings, database)
        assert stale(database, "vec") == []
    assert beside.execute("SELECT count(*) FROM notes WHERE body LIKE '%!'").fetchone() == (20,)


def test_a_trigger_that_is_disabled_on_a_partition(pending: Callable[..., Settings], beside: psycopg.Connection):
    settings = pending(shop=PARTITIONED)
    beside.execute("ALTER TABLE shop.late DISABLE TRIGGER USER")
    with pytest.raises(ConfigurationError, match=f"{TRIGGER} is disabled on"), opened(settings):
        pass
    # A partition that comes later has it at once.
    beside.execute("ALTER TABLE shop.late ENABLE TRIGGER USER")
    beside.execute("""
        CREATE TABLE shop.later PARTITION OF shop."Öffers 100%" FOR VALUES FROM ('2030-01-01Z') TO ('2040-01-01Z')
    """)
    with opened(settings) as database:
        assert embed(settings, database).embedded == 20


def test_a_trigger_behind_ours_on_a_partition(settings: Settings, beside: psycopg.Connection):
    fill(beside, PARTITIONED, 5)
    prepared(
        beside,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER zzzzz BEFORE UPDATE ON shop.late FOR EACH ROW EXECUTE FUNCTION f()",
    )
    with pytest.raises(ConfigurationError, match="trigger zzzzz"):
        adopt_shop(settings, PARTITIONED)


def test_a_role_that_knows_nothing_but_the_table(
    role: str, pending: Callable[..., Settings], beside: psycopg.Connection, database_url: str
):
    settings = pending()
    with opened(settings) as database:
        embed(settings, database)
        prepared(
            beside,
            "CREATE SCHEMA ext",
            "ALTER EXTENSION vector SET SCHEMA ext",
            f"GRANT SELECT, UPDATE ON notes TO {role}",
            "ALTER ROLE CURRENT_USER SET search_path = public, ext",
        )
        with psycopg.connect(make_conninfo(database_url, user=role), autocommit=True) as connection:
            connection.execute("UPDATE notes SET body = 'edited' WHERE id = 3")
        prepared(beside, "ALTER ROLE CURRENT_USER RESET search_path", "ALTER EXTENSION vector SET SCHEMA public")
        assert beside.execute("SELECT id FROM notes WHERE embedding IS NULL").fetchall() == [(3,)]
    beside.execute(f"DROP OWNED BY {role}")


def test_a_column_that_is_renamed_or_dropped(pending: Callable[..., Settings], beside: psycopg.Connection):
    settings = pending()
    with opened(settings) as database:
        embed(settings, database)
        for change in ("RENAME embedding TO other", "DROP COLUMN other"):
            beside.execute(f"ALTER TABLE notes {change}")
            beside.execute("UPDATE notes SET body = body || '.'")
        adopt_shop(settings, BIGINT)
    with opened(settings) as database:
        assert embed(settings, database).embedded == 20
        assert stale(database) == []


@pytest.mark.parametrize("is_adopted_again", [True, False])
def test_undoing_after_a_swap(
    pending: Callable[..., Settings], beside: psycopg.Connection, settings: Settings, is_adopted_again: bool
):
    adopted = pending()
    with opened(adopted) as database:
        embed(adopted, database)
    prepared(
        beside,
        "CREATE TABLE loaded (LIKE notes INCLUDING ALL)",
        "ALTER TABLE loaded DROP COLUMN embedding",
        "INSERT INTO loaded SELECT id, title, body, price, lang FROM notes",
        "ALTER TABLE notes RENAME TO retired",
        "ALTER TABLE loaded RENAME TO notes",
    )
    if is_adopted_again:
        adopt_shop(settings, BIGINT)
        beside.execute("UPDATE notes SET body = body || '.'")
        with opened(adopted) as database:
            assert embed(adopted, database).embedded == 20
    with Database(adopted.database.url.get_secret_value(), adopted.database, adopted.source) as database:
        undo_adoption(database, "notes")
    left = "SELECT count(*) FROM pg_trigger WHERE tgname = %s AND tgrelid <> 'knowledge_base'::regclass"
    assert beside.execute(left, [TRIGGER]).fetchone() == (0,)
    assert beside.execute("SELECT count(*) FROM pg_namespace WHERE nspname ~ '^embedding_assets'").fetchone() == (0,)


def test_undoing_after_a_rename_says_how_it_is_called(pending: Callable[..., Settings], beside: psycopg.Connection):
    adopted = pending()
    beside.execute("ALTER TABLE notes RENAME TO other")
    with Database(adopted.database.url.get_secret_value(), adopted.database) as database:
        with pytest.raises(ConfigurationError, match=r"public.notes is called public.other by now"):
            undo_adoption(database, "public.notes")
        beside.execute("DROP TABLE other")
        undo_adoption(database, "public.notes")
    assert list_adopted(beside) == []


def test_undoing_with_a_view_on_the_vectors_changes_nothing(
    pending: Callable[..., Settings], beside: psycopg.Connection
):
    adopted = pending()
    with opened(adopted) as database:
        embed(adopted, database)
        build_indexes(database, serving_space(database), adopted.index)
        beside.execute("CREATE VIEW seen AS SELECT id, embedding FROM notes")
        indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'notes'::regclass"
        before = beside.execute(indexes).fetchone()
        with pytest.raises(DatabaseError, match="depend on"):
            undo_adoption(database, "notes")
        assert beside.execute(indexes).fetchone() == before
        beside.execute("DROP VIEW seen")
        undo_adoption(database, "notes")
    assert beside.execute(indexes).fetchone() == (1,)


def test_a_column_that_was_found_keeps_no_index_of_ours(pending: Callable[..., Settings], beside: psycopg.Connection):
    adopted = pending("ALTER TABLE notes ADD vec vector(8)", column="vec")
    with opened(adopted) as database:
        embed(adopted, database)
        build_indexes(database, serving_space(database), adopted.index)
        _, steps = plan_undoing(database, "notes")
        assert "DROP INDEX CONCURRENTLY notes_vec_hnsw" in [step.sql for step in steps]
        undo_adoption(database, "notes")
    assert beside.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'notes'").fetchall() == [("notes_pkey",)]


def test_an_index_of_another_operator_class_is_left_alone(pending: Callable[..., Settings], beside: psycopg.Connection):
    definition = "CREATE INDEX theirs ON public.notes USING hnsw (vec vector_l2_ops) WITH (m='4')"
    adopted = pending("ALTER TABLE notes ADD vec vector(8)", definition, column="vec")
    with opened(adopted) as database:
        embed(adopted, database)
        column = serving_space(database)
        build_indexes(database, column, adopted.index)
        assert column.index == "notes_vec_hnsw"
        undo_adoption(database, "notes")
    assert beside.execute("SELECT pg_get_indexdef('theirs'::regclass)").fetchone() == (definition,)


@pytest.mark.parametrize(
    ("create", "text"),
    [
        ('CREATE TABLE items (id bit(8) PRIMARY KEY, body text COLLATE "POSIX")', "body"),
        ('CREATE TABLE items (id char(9) PRIMARY KEY, body text COLLATE "POSIX", t text COLLATE "C")', "{t}: {body}"),
        ("CREATE TABLE items (id timestamptz PRIMARY KEY, body text, embedding_position int)", "{id} {body}"),
    ],
)
def test_types_and_collations(settings: Settings, beside: psycopg.Connection, create: str, text: str):
    beside.execute(create)
    values = {
        "bit(8)": "n::bit(8)",
        "char(9)": "'key ' || n",
        "timestamptz": "'2026-03-29 00:00Z'::timestamptz + n * interval '1 h'",
    }
    [kind] = [one for one in values if one in create]
    beside.execute(f"INSERT INTO items (id, body) SELECT {values[kind]}, 'body ' || n FROM generate_series(1, 9) n")
    items = Shop("items", "", "", {"text": text}, "", {}, "")
    adopted = adopt_shop(settings, items)
    with opened(adopted) as database:
        column = register_space(database, SPACE)
        [database_name] = beside.execute("SELECT current_database()").fetchone()
        before = [chunk.fingerprint for chunk in fetch_pending(database, column, range(256), after="", limit=9)]
        beside.execute(f"ALTER DATABASE {database_name} SET timezone = 'America/New_York'")
    with opened(adopted) as database:
        assert [c.fingerprint for c in fetch_pending(database, column, range(256), after="", limit=9)] == before
        assert embed(adopted, database).embedded == 9
        assert list_failures(database) == []


def test_rows_that_a_trigger_keeps_as_they_are_are_recorded(
    pending: Callable[..., Settings], beside: psycopg.Connection
):
    adopted = pending(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER no BEFORE UPDATE ON notes FOR EACH ROW WHEN (OLD.id <= 5) EXECUTE FUNCTION no()",
    )
    with opened(adopted) as database:
        stats = embed(adopted, database)
        assert (stats.embedded, stats.failed, stats.skipped) == (15, 5, 0)
        assert {failure.error_code for failure in list_failures(database)} == {"refused_by_database"}
        again = FakeProvider(space=SPACE)
        embed(adopted, database, again)
        assert again.seen == []


def test_what_a_table_refuses_is_recorded_though_it_refuses_all(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 200)
    beside.execute("ALTER TABLE notes ADD CHECK (id > 1000) NOT VALID")
    adopted = adopt_shop(settings, BIGINT)
    with opened(adopted) as database:
        for _ in range(2):
            with pytest.raises(TableRefusesError):
                embed(adopted, database)
        assert len(list_failures(database)) == 128
        beside.execute("ALTER TABLE notes DROP CONSTRAINT notes_id_check")
        assert embed(adopted, database).embedded == 72
        assert count_backlog(database, serving_space(database)).waiting == 128


def test_records_of_a_role_that_does_not_own_the_table_are_ignored(
    role: str, settings: Settings, beside: psycopg.Connection, database_url: str
):
    fill(beside, BIGINT, 3)
    [database_name] = beside.execute("SELECT current_database()").fetchone()
    beside.execute(f"GRANT CREATE ON DATABASE {database_name} TO {role}")
    with psycopg.connect(make_conninfo(database_url, user=role), autocommit=True) as connection:
        prepared(
            connection,
            "CREATE SCHEMA evil",
            "CREATE TABLE evil.embedding_adopted_table (schema_name text, table_name text, definition jsonb)",
            "GRANT ALL ON SCHEMA evil TO PUBLIC; GRANT ALL ON evil.embedding_adopted_table TO PUBLIC",
            "INSERT INTO evil.embedding_adopted_table VALUES ('public', 'notes', '{}')",
        )
    assert list_adopted(beside) == []
    source = TableConfig(relation="notes")
    refusal = pytest.raises(ConfigurationError, match="not adopted")
    with refusal, Database(database_url, settings.database, source) as database:
        _ = database.table
    prepared(beside, f"DROP OWNED BY {role}")
