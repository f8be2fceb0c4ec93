"""Edits of a text make it pending again, in whatever way they are made; a lost trigger is put back."""

import psycopg
import pytest

from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.backlog import count_backlog, fetch_pending
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import FailedChunk, list_failures, save_failures
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import register_space
from embedding_assets.postgres.trigger import TRIGGER, trigger_state
from embedding_assets.postgres.vectors import write_vectors
from embedding_assets_tests.support.fakes import FAKE_SPACE, hash_of, insert_chunks
from embedding_assets_tests.support.tables import (
    OTHER_SMALL_SPACE,
    as_role,
    insert_vectors,
    run_sql,
    stored_vectors,
    unit_vectors,
)

ONE = "'[1,0,0,0,0,0,0,0]'"


def embed_all(database: Database, column) -> set[str]:
    pending = fetch_pending(database, column, range(256), after="", limit=100)
    vectors = unit_vectors(len(pending), column.space.dimensions)
    return write_vectors(database, column, pending, vectors).written if pending else set()


def due(database: Database, column) -> list[str]:
    return sorted(chunk.text for chunk in fetch_pending(database, column, range(256), after="", limit=100))


def test_an_edit_makes_a_chunk_pending_in_every_space(database, column, execute, settings):
    second = register_space(database, FAKE_SPACE, new_space=True)
    [chunk_hash] = insert_chunks(database, ["text"], context_header="header")
    columns = f"text_version, embedding IS NULL, {second.name} IS NULL"
    version = 0
    for statement, edits in [
        ("UPDATE knowledge_base SET chunk_text = chunk_text || '!'", True),
        ("UPDATE knowledge_base SET context_header = 'another'", True),
        ("UPDATE knowledge_base SET chunk_text = chunk_text, context_header = context_header", False),
        ("UPDATE knowledge_base SET document_metadata = '{\"a\": 1}', token_count = 7", False),
        ("UPDATE knowledge_base SET embedding = embedding", False),
    ]:
        embed_all(database, column)
        embed_all(database, second)
        save_failures(database, column.space.name, [FailedChunk(chunk_hash, "x")], settings.embedding)
        assert execute(f"SELECT {columns} FROM knowledge_base") == [(version, False, False)]
        execute(statement)
        version += edits
        assert execute(f"SELECT {columns} FROM knowledge_base") == [(version, edits, edits)]
        assert (list_failures(database) == []) is edits


def test_an_edit_by_a_role_that_knows_only_the_table(role, database, column, execute, database_url):
    [chunk_hash] = insert_chunks(database, ["text"])
    embed_all(database, column)
    for statement in (
        f"GRANT SELECT, UPDATE ON knowledge_base TO {role}",
        f"CREATE SCHEMA {role} AUTHORIZATION {role}",
        f"CREATE TABLE {role}.embedding_spaces (column_name text)",
        f"GRANT ALL ON {role}.embedding_spaces TO {role}",
    ):
        execute(statement)
    # "$user" is first in the default search_path, so the role's own table would be found first.
    run_sql(as_role(database_url, role), "UPDATE knowledge_base SET chunk_text = 'edited'")
    assert [c.text for c in fetch_pending(database, column, range(256), after="", limit=9)] == ["edited"]
    embed_all(database, column)
    run_sql(database_url, "SET search_path = pg_catalog", "UPDATE public.knowledge_base SET chunk_text = 'again'")
    assert [c.text for c in fetch_pending(database, column, range(256), after="", limit=9)] == ["again"]
    assert execute("SELECT text_version FROM knowledge_base WHERE chunk_hash = %s", chunk_hash) == [(2,)]


# Ways to edit


def test_a_text_that_another_trigger_derives(database, column, execute):
    insert_vectors(database, column, unit_vectors(2))
    execute("ALTER TABLE knowledge_base ADD COLUMN body text")
    execute("""
        CREATE FUNCTION derive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.chunk_text := NEW.body; RETURN NEW;
        END $$
    """)
    execute("CREATE TRIGGER derive BEFORE INSERT OR UPDATE OF body ON knowledge_base FOR EACH ROW "
            "EXECUTE FUNCTION derive()")  # fmt: skip
    # No statement names a column of the text.
    execute("UPDATE knowledge_base SET body = 'derived' WHERE chunk_hash = %s", hash_of("chunk 1"))
    assert due(database, column) == ["derived"]
    embed_all(database, column)
    execute("UPDATE knowledge_base SET body = body WHERE body IS NOT NULL")
    assert due(database, column) == []


@pytest.mark.parametrize("role", ["origin", "replica", "local"])
def test_an_edit_by_a_replication_or_a_restore(database, column, beside, role):
    insert_vectors(database, column, unit_vectors(2))
    beside.execute(f"SET session_replication_role = {role}")
    beside.execute("UPDATE knowledge_base SET chunk_text = 'replicated' WHERE chunk_hash = %s", [hash_of("chunk 1")])
    assert due(database, column) == ["replicated"]


def test_an_upsert_that_brings_the_text_and_its_vector_keeps_that(database, column, execute):
    second = register_space(database, OTHER_SMALL_SPACE, new_space=True)
    [chunk_hash] = insert_chunks(database, ["text"])
    embed_all(database, column)
    embed_all(database, second)
    upsert = (
        f"INSERT INTO knowledge_base (chunk_hash, chunk_text, embedding) VALUES (%s, %s, {ONE}) ON CONFLICT "
        "(chunk_hash) DO UPDATE SET chunk_text = excluded.chunk_text"
    )
    execute(f"{upsert}, embedding = excluded.embedding", chunk_hash, "with its vector")
    assert stored_vectors(database, column)[chunk_hash].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert due(database, column) == []
    assert due(database, second) == ["with its vector"]
    execute(upsert, chunk_hash, "without")
    assert due(database, column) == due(database, second) == ["without"]


# Lost


SWAP = """
    CREATE TABLE fresh (LIKE knowledge_base INCLUDING ALL);
    INSERT INTO fresh SELECT * FROM knowledge_base;
    ALTER TABLE knowledge_base RENAME TO stale;
    ALTER TABLE fresh RENAME TO knowledge_base
"""
LOST = {
    "dropped": (f"DROP TRIGGER {TRIGGER} ON knowledge_base", "missing"),
    "disabled": (f"ALTER TABLE knowledge_base DISABLE TRIGGER {TRIGGER}", "disabled"),
    "not for replicas": (f"ALTER TABLE knowledge_base ENABLE TRIGGER {TRIGGER}", "disabled"),
    "all disabled": ("ALTER TABLE knowledge_base DISABLE TRIGGER ALL", "disabled"),
    "swapped": (SWAP, "missing"),
    "swapped and the old one dropped": (f"{SWAP}; DROP TABLE stale", "missing"),
}


@pytest.mark.parametrize(("statement", "state"), LOST.values(), ids=LOST)
def test_a_lost_trigger_is_noticed_at_the_next_start_and_put_back(
    settings, database_url, database, column, execute, caplog, statement, state
):
    hashes = insert_vectors(database, column, unit_vectors(3))
    execute(statement)
    with Database(database_url, settings.database) as next_start:
        with next_start.session() as session:
            assert trigger_state(session, next_start.table) == state
        migrate(next_start)
        assert f"the trigger {TRIGGER} was {state} on knowledge_base and is back" in caplog.text
        with next_start.session() as session:
            assert trigger_state(session, next_start.table) == "there"
        caplog.clear()
        assert not migrate(next_start)
        assert caplog.text == ""
        if run_sql(database_url, "SELECT to_regclass('stale')") != [(None,)]:
            with pytest.raises(DatabaseError, match="as after a swap of the table; drop that"):
                register_space(next_start, column.space)
            run_sql(database_url, "DROP TABLE stale")
        assert register_space(next_start, column.space) == column
        run_sql(database_url, "SET session_replication_role = replica",
                f"UPDATE knowledge_base SET chunk_text = 'edited' WHERE chunk_hash = '{hashes[1]}'")  # fmt: skip
        assert due(next_start, column) == ["edited"]
        assert count_backlog(next_start, column).embedded == 2
        assert embed_all(next_start, column) == {hashes[1]}
        # Since when a chunk waits is noticed again, too.
        run_sql(database_url, "UPDATE knowledge_base SET pending_since = '2020-01-01'",
                "UPDATE knowledge_base SET embedding = NULL")  # fmt: skip
        assert run_sql(database_url, "SELECT count(*) FROM knowledge_base WHERE pending_since > '2021-01-01'") == [(3,)]


def test_putting_it_back_gives_way_to_a_writer(settings, database_url, database, column, beside, execute):
    execute(f"DROP TRIGGER {TRIGGER} ON knowledge_base")
    impatient = settings.database.model_copy(update={"retry_seconds": 0})
    with psycopg.connect(database_url) as writer, Database(database_url, impatient) as next_start:
        writer.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('aa', 'theirs')")
        with pytest.raises(Exception, match="lock timeout"):
            migrate(next_start)
        writer.commit()
        migrate(next_start)
        with next_start.session() as session:
            assert trigger_state(session, next_start.table) == "there"
