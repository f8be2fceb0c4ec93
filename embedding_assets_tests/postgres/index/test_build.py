"""Indexes are built once, and rebuilt without a gap when they are spoiled, however that came about."""

import threading
import time
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from embedding_assets.config import IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.catalog import describe_index, drop_index, ensure_index
from embedding_assets.postgres.index.build import build_vector_index, repair_reason
from embedding_assets.postgres.index.size import graph_memory_mb, index_bloat
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tables import in_threads, insert_vectors, unit_vectors

CONFIG = IndexConfig()
OTHER = IndexConfig(m=8, ef_construction=32)
ON_TEXT = sql.SQL("(chunk_text)")
NEAREST = "SELECT chunk_hash FROM knowledge_base ORDER BY embedding <=> '[1,0,0,0,0,0,0,0]' LIMIT 3"


def index_names(execute) -> set[str]:
    rows = execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'knowledge_base'::regclass")
    return {row[0] for row in rows}


def test_who_asks_first_builds_and_the_others_wait(database, column, execute):
    insert_vectors(database, column, unit_vectors(300))
    built = in_threads(*[lambda: ensure_index(database, "idx_once", ON_TEXT)] * 3)
    assert sorted(built) == [False, False, True]
    seconds = in_threads(*[lambda: build_vector_index(database, column, CONFIG)] * 3)
    assert sum(value is not None for value in seconds) == 1
    assert {"idx_once", column.index} <= index_names(execute)


def test_a_build_that_a_deadlock_ends_is_done_again(database, column, beside, database_url):
    insert_chunks(database, ["one"])
    with psycopg.connect(database_url) as other:
        # The build asks first whether there is a deadlock, and so is what ends.
        other.execute("SET deadlock_timeout = '1min'")
        other.execute("UPDATE knowledge_base SET context_header = 'other'")
        building = threading.Thread(target=ensure_index, args=(database, "idx_once", ON_TEXT))
        building.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'virtualxid' AND query LIKE 'CREATE INDEX%'"
        deadline = time.monotonic() + 180
        while beside.execute(waiting).fetchone() != (1,):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.execute("LOCK TABLE knowledge_base IN SHARE UPDATE EXCLUSIVE MODE")
    building.join(180)
    assert describe_index(database, "idx_once").valid
    assert beside.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone() == (
        1,
    )


def test_an_invalid_index_is_rebuilt(database, column, execute):
    insert_chunks(database, ["one", "two"])
    execute("UPDATE knowledge_base SET context_header = 'same'")
    with (
        psycopg.connect(database._conninfo, autocommit=True) as connection,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY idx_broken ON knowledge_base (context_header)")
    state = describe_index(database, "idx_broken")
    assert state.exists
    assert not state.valid
    assert ensure_index(database, "idx_broken", ON_TEXT)
    assert describe_index(database, "idx_broken").valid


def test_an_index_is_described(database, column, execute):
    assert not describe_index(database, column.index).exists
    assert not describe_index(database, column.index).matches(column, CONFIG)
    insert_vectors(database, column, unit_vectors(50))
    execute(f"CREATE INDEX {column.index} ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
    state = describe_index(database, column.index)
    assert (state.exists, state.valid, state.operator_class, state.m, state.ef_construction) == (
        True, True, "vector_cosine_ops", 16, 64,
    )  # fmt: skip
    assert state.size_bytes > 0
    assert state.matches(column, CONFIG)
    assert build_vector_index(database, column, CONFIG) is None
    for differing in (OTHER, IndexConfig(ef_construction=80)):
        assert not state.matches(column, differing)
    assert not state.matches(replace(column, similarity="euclidean"), CONFIG)
    execute(f"DROP INDEX {column.index}")
    execute(f"CREATE INDEX {column.index} ON knowledge_base USING ivfflat (embedding vector_cosine_ops) WITH (lists=2)")
    assert not describe_index(database, column.index).matches(column, CONFIG)
    assert build_vector_index(database, column, CONFIG) is not None
    assert describe_index(database, column.index).method == "hnsw"


@pytest.mark.parametrize(("config", "similarity"), [(OTHER, "cosine"), (IndexConfig(workers=0), "dot")])
def test_an_index_that_differs_from_its_configuration_is_replaced(database, column, execute, config, similarity):
    insert_vectors(database, column, unit_vectors(50))
    build_vector_index(database, column, CONFIG)
    before = index_names(execute)
    column = replace(column, similarity=similarity)
    seconds = build_vector_index(database, column, config)
    assert seconds is not None
    assert seconds > 0
    assert describe_index(database, column.index).matches(column, config)
    assert index_names(execute) == before
    assert build_vector_index(database, column, config) is None


def test_readers_have_a_valid_index_all_the_while_it_is_replaced(database, column):
    insert_vectors(database, column, unit_vectors(300))
    build_vector_index(database, column, CONFIG)
    with database.connect() as slow_reader, database.connect(autocommit=True) as reader:
        slow_reader.execute(NEAREST)  # its transaction stays open, and with it a lock on the table and its indexes
        reader.execute("SET statement_timeout = '2s'; SET enable_seqscan = off")
        replacement = threading.Thread(target=build_vector_index, args=(database, column, OTHER))
        replacement.start()
        deadline = time.monotonic() + 180
        while not describe_index(database, column.index).matches(column, OTHER):
            assert time.monotonic() < deadline
            assert describe_index(database, column.index).valid
            assert f"Scan using {column.index}" in str(reader.execute(f"EXPLAIN {NEAREST}").fetchall())
            assert len(reader.execute(NEAREST).fetchall()) == 3
        for _ in range(5):
            assert len(reader.execute(NEAREST).fetchall()) == 3
            insert_chunks(database, [f"written meanwhile {time.monotonic()}"])
            time.sleep(0.02)
        assert replacement.is_alive()
        slow_reader.commit()
        replacement.join(180)
        assert f"Scan using {column.index}" in str(reader.execute(f"EXPLAIN {NEAREST}").fetchall())
    assert not describe_index(database, f"{column.index}_old").exists


def test_what_an_interrupted_replacement_left_is_cleared_away(database, column, execute):
    insert_vectors(database, column, unit_vectors(20))
    build_vector_index(database, column, CONFIG)
    names = index_names(execute)
    for suffix in ("new", "old"):
        execute(f"CREATE INDEX {column.index}_{suffix} ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
    assert build_vector_index(database, column, CONFIG) is None
    assert index_names(execute) == names


def test_a_limit_on_statements_does_not_end_a_build(database, column, execute):
    """The servers of some hosts have one of a minute or two, and every build would run into it again."""
    insert_vectors(database, column, unit_vectors(20))
    [(name,)] = execute("SELECT current_database()")
    execute(f"ALTER DATABASE \"{name}\" SET statement_timeout = '400ms'")
    database.close()
    with database.connect() as writer:
        writer.execute("UPDATE knowledge_base SET token_count = 1")  # which a concurrent build waits for
        threads = [threading.Thread(target=build_vector_index, args=(database, column, CONFIG)),
                   threading.Thread(target=ensure_index, args=(database, "idx_text", ON_TEXT))]  # fmt: skip
        for thread in threads:
            thread.start()
        threads[0].join(1.5)
        writer.commit()
    for thread in threads:
        thread.join(180)
    assert describe_index(database, column.index).matches(column, CONFIG)
    assert describe_index(database, "idx_text").valid


# Spoiled


def build_and_fail(database, column) -> None:
    """CREATE INDEX CONCURRENTLY that runs into a time-out half way."""
    with database.connect() as writer, database.connect(autocommit=True) as builder:
        writer.execute("UPDATE knowledge_base SET token_count = 1")  # which a concurrent build waits for
        builder.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            builder.execute(
                f"CREATE INDEX CONCURRENTLY {column.index} ON knowledge_base USING hnsw (embedding vector_cosine_ops)"
            )


def rewrite_vectors(execute, seed: int) -> None:
    """Every vector replaced by another one, at random."""
    execute(
        "UPDATE knowledge_base SET embedding = (SELECT array_agg(sin(i * (hashtext(chunk_hash) / 1e7 + %s))) "
        "FROM generate_series(1, 768) AS i)::vector",
        seed,
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (["DROP INDEX {index}"], "missing"),
        (["DROP INDEX {index}", "FAIL"], "invalid"),
        (["DROP INDEX {index}", "CREATE INDEX {index} ON knowledge_base USING hnsw (embedding vector_cosine_ops) "
          "WITH (m = 4)"], "differs"),
        (["DROP INDEX {index}", "CREATE INDEX {index} ON knowledge_base USING hnsw (embedding vector_l2_ops)"],
         "differs"),
        (["DROP INDEX {index}", "CREATE INDEX {index} ON knowledge_base USING ivfflat (embedding vector_cosine_ops) "
          "WITH (lists = 2)"], "differs"),
    ],
    ids=["dropped", "invalid", "wrong m", "wrong operator class", "ivfflat"],
)  # fmt: skip
def test_a_spoiled_index_is_found_and_rebuilt(database, column, execute, spoil, reason):
    insert_vectors(database, column, unit_vectors(50))
    build_vector_index(database, column, CONFIG)
    assert repair_reason(describe_index(database, column.index), column, CONFIG, 50) is None
    for statement in spoil:
        if statement == "FAIL":
            build_and_fail(database, column)
        else:
            execute(statement.format(index=column.index))
    assert repair_reason(describe_index(database, column.index), column, CONFIG, 50) == reason
    assert build_vector_index(database, column, CONFIG) is not None
    state = describe_index(database, column.index)
    assert state.matches(column, CONFIG)
    assert repair_reason(state, column, CONFIG, 50) is None
    assert build_vector_index(database, column, CONFIG) is None


def test_a_bloated_index_is_rebuilt_beside_itself(database, execute, caplog):
    column = register_space(database, FAKE_SPACE)
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    hashes = insert_vectors(database, column, unit_vectors(300, 768))
    build_vector_index(database, column, CONFIG)
    fresh = describe_index(database, column.index)
    assert index_bloat(fresh, 300, 4 * 768) == pytest.approx(1, abs=0.02)
    cycles = 0
    while repair_reason(describe_index(database, column.index), column, CONFIG, 300) is None:
        assert build_vector_index(database, column, CONFIG) is None
        execute("DELETE FROM knowledge_base WHERE chunk_hash = ANY(%s)", hashes[:10])
        insert_chunks(database, [f"chunk {number}" for number in range(10)])
        rewrite_vectors(execute, seed=cycles)
        cycles += 1
        assert cycles < 5
    bloated = describe_index(database, column.index)
    assert repair_reason(bloated, column, CONFIG, 300) == "bloated"
    assert index_bloat(bloated, 300, 4 * 768) > 1.5

    # Its readers never notice: until the new one is complete they have the old one.
    with database.connect() as slow_reader:
        slow_reader.execute("SELECT count(*) FROM knowledge_base")
        rebuild = threading.Thread(target=build_vector_index, args=(database, column, CONFIG))
        with caplog.at_level("INFO"):
            rebuild.start()
            deadline = time.monotonic() + 180
            while describe_index(database, column.index).size_bytes == bloated.size_bytes:
                assert describe_index(database, column.index).valid
                assert time.monotonic() < deadline
        assert rebuild.is_alive()
        slow_reader.commit()
        rebuild.join(180)
    assert index_bloat(describe_index(database, column.index), 300, 4 * 768) == pytest.approx(1, abs=0.02)
    assert (
        f"index {column.index} is {index_bloat(bloated, 300, 4 * 768):.1f} times as large as a fresh one" in caplog.text
    )
    assert build_vector_index(database, column, CONFIG) is None


def test_a_small_index_is_never_bloated(database, column, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_vectors(database, column, unit_vectors(200))
    build_vector_index(database, column, CONFIG)
    for place in range(5):
        execute("UPDATE knowledge_base SET embedding = embedding + %s::vector", f"[{place},1,0,0,0,0,0,0]")
    state = describe_index(database, column.index)
    assert index_bloat(state, 200, 4 * 8) > 3
    assert build_vector_index(database, column, CONFIG) is None


def test_a_ceiling_below_what_a_fresh_index_has_is_reported(database, execute, caplog):
    column = register_space(database, FAKE_SPACE)
    insert_vectors(database, column, unit_vectors(300, 768))
    low = CONFIG.model_copy(update={"bloat_ceiling": 0.5})
    build_vector_index(database, column, low)
    assert "larger than EMBEDDING_INDEX_BLOAT_CEILING=0.5 allows although it was just built" in caplog.text
    caplog.clear()
    build_vector_index(database, column, CONFIG)
    assert "BLOAT_CEILING" not in caplog.text


# Memory and workers

REFUSE_WORKERS = """
CREATE FUNCTION no_shared_memory() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('max_parallel_maintenance_workers')::integer >= {} THEN
        RAISE 'could not resize shared memory segment' USING ERRCODE = '{}';
    END IF;
END $$
"""


def settings_of_build(database, column, execute, config) -> dict[str, str]:
    """The settings under which the vector index was built."""
    execute("CREATE TABLE IF NOT EXISTS seen (name text, setting text)")
    execute(
        "CREATE OR REPLACE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM seen; INSERT INTO seen SELECT name, current_setting(name) FROM pg_settings; END $$"
    )
    execute("CREATE EVENT TRIGGER see ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION see()")
    build_vector_index(database, column, config)
    execute("DROP EVENT TRIGGER see")
    execute(f"DROP INDEX {column.index}")
    return dict(execute("SELECT name, setting FROM seen"))


def test_a_build_asks_for_the_memory_and_the_workers_it_can_use(database, column, execute):
    insert_vectors(database, column, unit_vectors(50))
    settings = settings_of_build(database, column, execute, IndexConfig(workers=3))
    assert settings["max_parallel_maintenance_workers"] == "3"
    assert settings["maintenance_work_mem"] == "128MB"  # PostgreSQL starts no worker for less than 32 MB
    settings = settings_of_build(database, column, execute, IndexConfig(workers=3, memory_mb=64))
    assert settings["maintenance_work_mem"] == "64MB"


def test_a_graph_that_does_not_fit_is_built_and_the_setting_named(database, column, caplog):
    insert_vectors(database, column, unit_vectors(3000))
    small = IndexConfig(workers=0).model_copy(update={"memory_mb": 1})
    assert build_vector_index(database, column, small) is not None
    [warning] = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert "does not fit into 1 MB" in warning.getMessage()
    assert f"EMBEDDING_INDEX_MEMORY_MB to {graph_memory_mb(3000, 4 * 8, 16)}" in warning.getMessage()
    caplog.clear()
    build_vector_index(database, column, OTHER)
    assert "EMBEDDING_INDEX_MEMORY_MB" not in caplog.text


@pytest.mark.parametrize(
    ("workers_refused", "code", "built"),
    [(1, "disk_full", True), (1, "out_of_memory", True), (0, "disk_full", False)],
)
def test_without_shared_memory_for_workers_it_is_built_by_one_process(
    database, column, execute, caplog, workers_refused, code, built
):
    insert_vectors(database, column, unit_vectors(20))
    execute(REFUSE_WORKERS.format(workers_refused, code))
    config = IndexConfig(workers=2)
    execute("CREATE EVENT TRIGGER no_shared_memory ON ddl_command_start WHEN TAG IN ('CREATE INDEX') "
            "EXECUTE FUNCTION no_shared_memory()")  # fmt: skip
    if built:
        assert build_vector_index(database, column, config) is not None
        assert describe_index(database, column.index).matches(column, config)
    else:
        with pytest.raises(DatabaseError, match="index idx_knowledge_embedding was not built: could not resize"):
            build_vector_index(database, column, config)
    assert "--shm-size" in caplog.text
    assert "EMBEDDING_INDEX_WORKERS=0" in caplog.text


def test_a_build_begins_by_clearing_away_what_the_load_left(database, column, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_chunks(database, [f"text {number}" for number in range(500)])
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    build_vector_index(database, column, CONFIG)
    [(all_visible, pages)] = execute(
        "SELECT relallvisible, relpages FROM pg_class WHERE oid = 'knowledge_base'::regclass"
    )
    assert all_visible == pages > 1


def test_a_lost_connection_or_a_missing_right_is_an_error_of_ours(role, database, column, execute, database_url):
    with database.session() as connection:
        connection.execute("SET ROLE " + role)
        for drop in (column.pending_index, "no_such_index"):
            if drop == "no_such_index":
                drop_index(connection, database.table, drop)
            else:
                with pytest.raises(DatabaseError, match=f"index {drop} was not dropped: must be owner"):
                    drop_index(connection, database.table, drop)
        execute("SELECT pg_terminate_backend(%s, 5000)", connection.info.backend_pid)
        with pytest.raises(DatabaseError, match="was not dropped"):
            drop_index(connection, database.table, "x")
    with pytest.raises(DatabaseError, match="index idx_no was not built"):
        ensure_index(database, "idx_no", sql.SQL("(no_such_column)"))


def test_two_changes_of_the_table_do_not_deadlock(database, column, database_url):
    """Both would wait for each other once the transaction that delays the first is gone."""
    insert_chunks(database, ["text"])
    works = [
        lambda: ensure_index(database, "idx_one", ON_TEXT),
        lambda: ensure_index(database, "idx_two", ON_TEXT),
        lambda: register_space(database, FAKE_SPACE, new_space=True),
    ]
    threads = [threading.Thread(target=work) for work in works]
    with psycopg.connect(database_url) as old_snapshot:
        old_snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old_snapshot.execute("SELECT 1 FROM pg_class LIMIT 1")
        for thread in threads:
            thread.start()
            time.sleep(0.2)
    for thread in threads:
        thread.join(180)
    assert describe_index(database, "idx_one").valid
    assert describe_index(database, "idx_two").valid
