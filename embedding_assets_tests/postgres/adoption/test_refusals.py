"""What cannot be adopted is refused with a reason, before anything is changed."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import Settings, TableConfig
from embedding_assets.errors import ConfigurationError, DatabasePermissionError, TableNotAdoptedError
from embedding_assets.postgres.adopting import adopt, plan_adoption, undo_adoption
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.lookup import list_adopted
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, embed, fill, opened

NOTES = "CREATE TABLE notes (id bigint PRIMARY KEY, body text, price real, tags text[], data jsonb)"


def snapshot(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute("""
        SELECT 'relation', relnamespace::regnamespace::text, relname::text, relkind::text FROM pg_class
        WHERE relnamespace::regnamespace::text !~ '^pg_|information_schema'
        UNION ALL SELECT 'trigger', tgname::text, tgrelid::regclass::text, '' FROM pg_trigger
        UNION ALL SELECT 'schema', nspname::text, '', '' FROM pg_namespace WHERE nspname !~ '^pg_'
        ORDER BY 1, 2, 3
    """).fetchall()


@pytest.mark.parametrize(
    ("prepare", "config", "message"),
    [
        (NOTES, {"relation": "notices"}, "there is no table notices in this database"),
        (NOTES, {"relation": "shop.Notes"}, r"there is no table shop.Notes .*; there is public.notes"),
        (NOTES, {"relation": "no;tes"}, "there is no table no;tes"),
        (NOTES, {"text": "bdy"}, r"EMBEDDING_TABLE_TEXT \(--text\): notes has no column bdy; its columns: id"),
        (NOTES, {"text": "{title}: {body}"}, "notes has no column title"),
        (NOTES, {"text": None}, "say what is embedded, .* text columns of notes: body"),
        (NOTES, {"text": "price"}, "price is real, not text"),
        (NOTES, {"text": "x {tags}"}, r"tags is text\[\], which is no text"),
        (NOTES, {"key": "body"}, "nothing keeps body unique and NOT NULL at every moment; keys of notes that are: id"),
        (NOTES, {"key": "nr"}, r"EMBEDDING_TABLE_KEY \(--key\): notes has no column nr"),
        (NOTES, {"metadata": "lang"}, r"EMBEDDING_TABLE_METADATA \(--metadata\): notes has no column lang"),
        (NOTES, {"where": "lang = 'en'"}, 'is not a condition on public.notes: column "lang" does not exist'),
        (NOTES, {"where": "price <"}, r"EMBEDDING_TABLE_WHERE \(--where\) is not a condition on public.notes"),
        (NOTES, {"where": "id < extract(epoch FROM now())"}, "depends on the time, on settings or on other tables"),
        (NOTES, {"column": "body"}, "body is text, not vector or halfvec"),
        (NOTES, {"column": "v%s"}, "has a percent sign"),
        ("CREATE TABLE notes (id bigint, body text)", {}, "has neither a primary key nor a unique constraint"),
        ("CREATE TABLE notes (id bigint UNIQUE, body text)", {}, "has neither a primary key nor a unique constraint"),
        ("CREATE TABLE notes (id int PRIMARY KEY DEFERRABLE, body text)", {}, "neither a primary key nor"),
        ("CREATE TABLE notes (id float8 PRIMARY KEY, body text)", {}, "id is a floating-point number"),
        (
            "CREATE TYPE lang AS ENUM ('en'); CREATE TABLE notes (id lang PRIMARY KEY, body text)",
            {},
            r"EMBEDDING_TABLE_KEY \(--key\) depends on .* no enumeration",
        ),
        (f"{NOTES}; CREATE VIEW seen AS TABLE notes", {"relation": "seen"}, "seen is a view, which cannot"),
        (f"{NOTES}; CREATE TABLE more () INHERITS (notes)", {}, "other tables inherit from it"),
        (
            "CREATE TABLE whole (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);"
            "CREATE TABLE notes PARTITION OF whole FOR VALUES FROM (1) TO (9)",
            {},
            "it is a partition; adopt the table that it is a part of",
        ),
        (f"{NOTES}; ALTER TABLE notes ADD vec vector(8) NOT NULL", {"column": "vec"}, "vec is NOT NULL.*DROP NOT NULL"),
        (
            f"{NOTES}; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER zzzz BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION f()",
            {},
            "trigger zzzz of notes comes behind .* ALTER TRIGGER zzzz ON public.notes RENAME TO",
        ),
        (
            "CREATE TABLE notes (id bigint NOT NULL UNIQUE, body text); CREATE PUBLICATION everything FOR TABLE notes",
            {},
            "published without a replica identity.* ALTER TABLE public.notes REPLICA IDENTITY USING INDEX",
        ),
        (NOTES, {"relation": "knowledge_base"}, "was made by embedding-assets; there is nothing to adopt"),
        (NOTES, {"records": "public"}, "schema public has the records of knowledge_base; set EMBEDDING_SCHEMA"),
        (NOTES, {"relation": "pg_catalog.pg_class", "text": "relname"}, "is PostgreSQL's own|only its owner"),
    ],
)  # fmt: skip
def test_nothing_is_changed(
    settings: Settings, beside: psycopg.Connection, prepare: str, config: dict[str, str], message: str
):
    beside.execute(prepare)
    before = snapshot(beside)
    source = TableConfig(**{"relation": "notes", "text": "body", **config})
    refusal = pytest.raises((ConfigurationError, DatabasePermissionError), match=message)
    with refusal, Database(settings.database.url.get_secret_value(), settings.database, source) as database:
        adopt(database, source)
    assert snapshot(beside) == before


def test_rights(role: str, settings: Settings, beside: psycopg.Connection):
    beside.execute(NOTES)
    url = make_conninfo(settings.database.url.get_secret_value(), user=role)
    source = TableConfig(relation="notes", text="body")

    def refused(message: str) -> None:
        before = snapshot(beside)
        refusal = pytest.raises(DatabasePermissionError, match=message)
        with refusal, Database(url, settings.database, source) as database:
            adopt(database, source)
        assert snapshot(beside) == before

    refused("only its owner may add a column, .* run GRANT postgres TO role_")
    beside.execute(f"ALTER TABLE notes OWNER TO {role}")
    refused("CREATE SCHEMA embedding_assets_notes AUTHORIZATION role_")
    beside.execute(f"CREATE SCHEMA embedding_assets_notes AUTHORIZATION {role}")
    beside.execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    refused("row-level security hides rows of public.notes from this role")
    beside.execute("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY")
    with Database(url, settings.database, source) as database:
        assert adopt(database, source).table.records == "embedding_assets_notes"
        # A schema that was given to the role stays the role's.
        undo_adoption(database, "notes")
    beside.execute(f"DROP OWNED BY {role}")


def test_what_somebody_else_put_into_the_schema_of_the_records_stays(settings: Settings, beside: psycopg.Connection):
    fill(beside, BIGINT, 3)
    beside.execute("CREATE SCHEMA app; CREATE TABLE app.theirs (id int)")
    adopted = adopt_shop(settings, BIGINT, records="app")
    with opened(adopted) as database:
        assert embed(adopted, database).embedded == 3
        undo_adoption(database, "notes")
    assert beside.execute("SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace").fetchall() == [
        ("theirs",)
    ]


def test_several_tables_in_one_database(settings: Settings, empty_url: str):
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE one (id int PRIMARY KEY, body text)")
        connection.execute("CREATE TABLE two (id int PRIMARY KEY, body text)")
        with Database(empty_url, settings.database) as database:
            for name in ("one", "two"):
                source = TableConfig(relation=name, text="body")
                adopt(database, source)
                assert [table.name for table in list_adopted(connection)][-1] == name
                database.use_table(None)
                if name == "one":
                    assert str(database.table) == "public.one", "the only one that was adopted"
            with pytest.raises(ConfigurationError, match=r"set EMBEDDING_TABLE to one of public.one, public.two"):
                _ = database.table


def test_knowledge_base_of_somebody_else(settings: Settings, empty_url: str):
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE knowledge_base (chunk_hash text PRIMARY KEY, chunk_text text)")
        with Database(empty_url, settings.database) as database:
            with pytest.raises(TableNotAdoptedError, match=r"not made by embedding-assets.*adopt knowledge_base"):
                _ = database.table
            source = TableConfig(relation="knowledge_base", text="chunk_text")
            plan = plan_adoption(database, source)
            adopt(database, source)
            assert (str(database.table), plan.table.is_own) == ("public.knowledge_base", False)
