"""Indexes are built once, replaced without a gap, and measured honestly."""

import threading
import time

import numpy as np
import psycopg
import pytest
from psycopg import sql

from embedding_assets.config import IndexConfig
from embedding_assets.errors import DatabaseError
from embedding_assets.postgres.index import (
    build_vector_index,
    describe_index,
    drop_index,
    ensure_index,
    graph_memory_mb,
    measure_recall,
)
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.postgres.conftest import insert_vectors, unit_vectors

CONFIG = IndexConfig()
OTHER = IndexConfig(m=8, ef_construction=32)
ON_TEXT = sql.SQL("ON knowledge_base (chunk_text)")
NEAREST = "SELECT chunk_hash FROM knowledge_base ORDER BY embedding <=> '[1,0,0,0,0,0,0,0]' LIMIT 3"


def index_names(execute) -> set[str]:
    rows = execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'knowledge_base'::regclass")
    return {row[0] for row in rows}


def in_threads(*works) -> list:
    results = []
    threads = [threading.Thread(target=lambda work=work: results.append(work())) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_who_asks_first_builds_and_the_others_wait(database, record, execute):
    insert_vectors(database, record, unit_vectors(300))
    built = in_threads(*[lambda: ensure_index(database, "idx_once", ON_TEXT)] * 3)
    assert sorted(built) == [False, False, True]
    seconds = in_threads(*[lambda: build_vector_index(database, record, CONFIG)] * 3)
    assert sum(value is not None for value in seconds) == 1
    assert {"idx_once", record.index} <= index_names(execute)


def test_an_invalid_index_is_built_anew(database, record, execute):
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

    build_vector_index(database, record, CONFIG)
    execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", record.index)
    assert not describe_index(database, record.index).matches(CONFIG)
    assert build_vector_index(database, record, CONFIG) is not None
    assert describe_index(database, record.index).matches(CONFIG)


def test_an_index_is_described(database, record, execute):
    assert not describe_index(database, record.index).exists
    assert not describe_index(database, record.index).matches(CONFIG)
    insert_vectors(database, record, unit_vectors(50))
    execute(f"CREATE INDEX {record.index} ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
    state = describe_index(database, record.index)
    assert (state.exists, state.valid, state.operator_class, state.m, state.ef_construction) == (
        True, True, "vector_cosine_ops", 16, 64,
    )  # fmt: skip
    assert state.size_bytes > 0
    assert state.matches(CONFIG)
    assert build_vector_index(database, record, CONFIG) is None
    for differing in (OTHER, IndexConfig(ef_construction=80), IndexConfig(operator_class="vector_l2_ops")):
        assert not state.matches(differing)
    execute(f"DROP INDEX {record.index}")
    execute(f"CREATE INDEX {record.index} ON knowledge_base USING ivfflat (embedding vector_cosine_ops) WITH (lists=2)")
    assert not describe_index(database, record.index).matches(CONFIG)
    assert build_vector_index(database, record, CONFIG) is not None
    assert describe_index(database, record.index).method == "hnsw"


@pytest.mark.parametrize("config", [OTHER, IndexConfig(operator_class="vector_ip_ops", workers=0)])
def test_an_index_that_differs_from_its_configuration_is_replaced(database, record, execute, config):
    insert_vectors(database, record, unit_vectors(50))
    build_vector_index(database, record, CONFIG)
    before = index_names(execute)
    seconds = build_vector_index(database, record, config)
    assert seconds is not None
    assert seconds > 0
    assert describe_index(database, record.index).matches(config)
    assert index_names(execute) == before
    assert build_vector_index(database, record, config) is None


def test_readers_have_a_valid_index_all_the_while_it_is_replaced(database, record):
    insert_vectors(database, record, unit_vectors(300))
    build_vector_index(database, record, CONFIG)
    with database.connect() as slow_reader, database.connect(autocommit=True) as reader:
        slow_reader.execute(NEAREST)  # its transaction stays open, and with it a lock on the table and its indexes
        reader.execute("SET statement_timeout = '2s'; SET enable_seqscan = off")
        replacement = threading.Thread(target=build_vector_index, args=(database, record, OTHER))
        replacement.start()
        deadline = time.monotonic() + 20
        while not describe_index(database, record.index).matches(OTHER):
            assert time.monotonic() < deadline
            assert describe_index(database, record.index).valid
            assert f"Scan using {record.index}" in str(reader.execute(f"EXPLAIN {NEAREST}").fetchall())
            assert len(reader.execute(NEAREST).fetchall()) == 3
        for _ in range(5):
            assert len(reader.execute(NEAREST).fetchall()) == 3
            insert_chunks(database, [f"written meanwhile {time.monotonic()}"])
            time.sleep(0.02)
        assert replacement.is_alive()
        slow_reader.commit()
        replacement.join(20)
        assert f"Scan using {record.index}" in str(reader.execute(f"EXPLAIN {NEAREST}").fetchall())
    assert not describe_index(database, f"{record.index}_old").exists


def test_what_an_interrupted_replacement_left_is_cleared_away(database, record, execute):
    insert_vectors(database, record, unit_vectors(20))
    build_vector_index(database, record, CONFIG)
    names = index_names(execute)
    for suffix in ("new", "old"):
        execute(f"CREATE INDEX {record.index}_{suffix} ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
    assert build_vector_index(database, record, CONFIG) is None
    assert index_names(execute) == names


def test_a_build_that_fails_leaves_the_index_that_was_there(database, record, execute):
    insert_vectors(database, record, unit_vectors(20))
    build_vector_index(database, record, CONFIG)
    [(name,)] = execute("SELECT current_database()")
    execute(f"ALTER DATABASE \"{name}\" SET statement_timeout = '400ms'")
    with database.connect() as writer:
        writer.execute("UPDATE knowledge_base SET token_count = 1")  # which a concurrent build waits for
        with pytest.raises(DatabaseError, match=r"idx_knowledge_embedding_new was not built: .*statement timeout"):
            build_vector_index(database, record, OTHER)
    execute(f'ALTER DATABASE "{name}" RESET statement_timeout')
    assert describe_index(database, record.index).matches(CONFIG)
    assert build_vector_index(database, record, OTHER) is not None
    assert not describe_index(database, f"{record.index}_new").exists


# Memory and workers

REFUSE_WORKERS = """
CREATE FUNCTION no_shared_memory() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('max_parallel_maintenance_workers')::integer >= {} THEN
        RAISE 'could not resize shared memory segment' USING ERRCODE = 'disk_full';
    END IF;
END $$
"""


def settings_of_build(database, record, execute, config) -> dict[str, str]:
    """The settings under which the vector index was built."""
    execute("CREATE TABLE IF NOT EXISTS seen (name text, setting text)")
    execute(
        "CREATE OR REPLACE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM seen; INSERT INTO seen SELECT name, current_setting(name) FROM pg_settings; END $$"
    )
    execute("CREATE EVENT TRIGGER see ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION see()")
    build_vector_index(database, record, config)
    execute("DROP EVENT TRIGGER see")
    execute(f"DROP INDEX {record.index}")
    return dict(execute("SELECT name, setting FROM seen"))


def test_a_build_asks_for_the_memory_and_the_workers_it_can_use(database, record, execute):
    insert_vectors(database, record, unit_vectors(50))
    settings = settings_of_build(database, record, execute, IndexConfig(workers=3))
    assert settings["max_parallel_maintenance_workers"] == "3"
    assert settings["maintenance_work_mem"] == "128MB"  # PostgreSQL starts no worker for less than 32 MB
    settings = settings_of_build(database, record, execute, IndexConfig(workers=3, memory_mb=64))
    assert settings["maintenance_work_mem"] == "64MB"


@pytest.mark.parametrize(
    ("rows", "dimensions", "m", "least", "most"),
    [
        (0, 768, 16, 1, 16),
        # Where the notice came when it was tried, in rows and MiB.
        (89_840, 8, 16, 64, 96),
        (17_705, 768, 16, 64, 96),
        (12_428, 768, 32, 51, 80),
        (7_681, 2000, 16, 64, 96),
        (1_000_000, 768, 16, 3_700, 5_000),
    ],
)
def test_the_memory_of_a_graph(rows, dimensions, m, least, most):
    assert least <= graph_memory_mb(rows, dimensions, m) <= most


def test_a_graph_that_does_not_fit_is_built_and_the_setting_named(database, record, caplog):
    insert_vectors(database, record, unit_vectors(3000))
    small = IndexConfig(workers=0).model_copy(update={"memory_mb": 1})
    assert build_vector_index(database, record, small) is not None
    [warning] = [entry for entry in caplog.records if entry.levelname == "WARNING"]
    assert "does not fit into 1 MB" in warning.getMessage()
    assert f"EMBEDDING_INDEX_MEMORY_MB to {graph_memory_mb(3000, 8, 16)}" in warning.getMessage()
    caplog.clear()
    build_vector_index(database, record, OTHER)
    assert "EMBEDDING_INDEX_MEMORY_MB" not in caplog.text


@pytest.mark.parametrize(("workers_refused", "built"), [(1, True), (0, False)])
def test_without_shared_memory_for_workers_it_is_built_by_one_process(
    database, record, execute, caplog, workers_refused, built
):
    insert_vectors(database, record, unit_vectors(20))
    execute(REFUSE_WORKERS.format(workers_refused))
    execute("CREATE EVENT TRIGGER no_shared_memory ON ddl_command_start WHEN TAG IN ('CREATE INDEX') "
            "EXECUTE FUNCTION no_shared_memory()")  # fmt: skip
    if built:
        assert build_vector_index(database, record, CONFIG) is not None
        assert describe_index(database, record.index).matches(CONFIG)
    else:
        with pytest.raises(DatabaseError, match="index idx_knowledge_embedding was not built: could not resize"):
            build_vector_index(database, record, CONFIG)
    assert "--shm-size" in caplog.text
    assert "EMBEDDING_INDEX_WORKERS=0" in caplog.text


def test_a_build_begins_by_clearing_away_what_the_load_left(database, record, execute):
    execute("ALTER TABLE knowledge_base SET (autovacuum_enabled = off)")
    insert_chunks(database, [f"text {number}" for number in range(500)])
    execute("UPDATE knowledge_base SET embedding = '[1,0,0,0,0,0,0,0]'")
    build_vector_index(database, record, CONFIG)
    [(all_visible, pages)] = execute(
        "SELECT relallvisible, relpages FROM pg_class WHERE oid = 'knowledge_base'::regclass"
    )
    assert all_visible == pages > 1


def test_a_lost_connection_or_a_missing_right_is_an_error_of_ours(role, database, record, execute, database_url):
    with database.session() as connection:
        connection.execute("SET ROLE " + role)
        for drop in (record.pending_index, "no_such_index"):
            if drop == "no_such_index":
                drop_index(connection, drop)
            else:
                with pytest.raises(DatabaseError, match=f"index {drop} was not dropped: must be owner"):
                    drop_index(connection, drop)
        execute("SELECT pg_terminate_backend(%s, 5000)", connection.info.backend_pid)
        with pytest.raises(DatabaseError, match="was not dropped"):
            drop_index(connection, "x")
    with pytest.raises(DatabaseError, match="index idx_no was not built"):
        ensure_index(database, "idx_no", sql.SQL("ON knowledge_base (no_such_column)"))


def test_two_changes_of_the_table_do_not_deadlock(database, record, database_url):
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
        thread.join(30)
    assert describe_index(database, "idx_one").valid
    assert describe_index(database, "idx_two").valid


# Recall


@pytest.mark.parametrize("operator_class", ["vector_cosine_ops", "vector_l2_ops", "vector_ip_ops"])
def test_recall_of_a_good_index_is_one(database, record, operator_class):
    vectors = unit_vectors(400)
    vectors[200:240] = vectors[0]  # duplicates: any of them is as right as another
    insert_vectors(database, record, vectors)
    config = IndexConfig(operator_class=operator_class, ef_search=400)
    build_vector_index(database, record, config)
    sample = measure_recall(database, record, config)
    assert (sample.queries, sample.recall) == (100, 1.0)
    assert sample.p50_milliseconds > 0


def test_recall_of_a_bad_index_is_measured_as_bad(database, execute):
    record = register_space(database, FAKE_SPACE)
    clusters = np.repeat(unit_vectors(20, 768), 60, axis=0)
    vectors = clusters + 0.3 * unit_vectors(1200, 768, seed=11)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    insert_vectors(database, record, vectors.astype(np.float32))
    bad = IndexConfig(m=2, ef_construction=4, ef_search=1)
    build_vector_index(database, record, bad)
    [(name,)] = execute("SELECT current_database()")
    for mode in ("auto", "force_generic_plan"):
        execute(f'ALTER DATABASE "{name}" SET plan_cache_mode = {mode}')
        database.close()
        sample = measure_recall(database, record, bad)
        assert sample.queries == 100
        assert 0 < sample.recall < 0.6
    good = IndexConfig(ef_search=200)
    build_vector_index(database, record, good)
    assert measure_recall(database, record, good).recall > 0.95


def test_recall_needs_an_index_and_enough_vectors(database, record):
    assert measure_recall(database, record, CONFIG).recall is None
    hashes = insert_vectors(database, record, unit_vectors(30))
    sample = measure_recall(database, record, CONFIG)
    assert (sample.queries, sample.recall, sample.planner_uses_index) == (30, None, False)
    build_vector_index(database, record, CONFIG)
    assert measure_recall(database, record, CONFIG).recall == 1.0
    assert measure_recall(database, record, IndexConfig(operator_class="vector_l2_ops")).recall is None
    with database.connect() as connection:
        connection.execute("DELETE FROM knowledge_base WHERE NOT chunk_hash = ANY(%s)", [hashes[:10]])
    assert measure_recall(database, record, CONFIG, k=10).recall is None


def test_recall_knows_one_index_from_another(database, record, execute):
    """The names of further spaces' indexes begin with the first one's name."""
    insert_vectors(database, record, unit_vectors(50))
    execute(f"CREATE INDEX {record.index}_other ON knowledge_base USING hnsw (embedding vector_cosine_ops)")
    assert measure_recall(database, record, CONFIG).recall is None
