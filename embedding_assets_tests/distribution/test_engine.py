"""Runs on a real Ray cluster of two cores, with real PostgreSQL: killed, side by side, stopped, refused."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.config import get_settings
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.runs import list_runs
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.url import normalize_url
from embedding_assets.providers.space_selection import create_provider
from embedding_assets_tests.distribution.conftest import API_KEY, RayCluster
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.api_runs import assert_vectors, configure, sentences, usage
from embedding_assets_tests.support.fakes import hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import stored
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model
from fake_api.server import ApiServer, Fault

Start = Callable[..., subprocess.Popen[str]]

MARKER = "xylophonist"
"""In each text, and so nowhere else."""

WORKERS = 2
OF_A_WORKER = 2 + 1 + 1
"""Connections: a pool, one for locks, one for a moment."""

OF_A_RUN = 5 + 4
"""Of a driver, or of a run by itself."""

MATERIALIZE = """
import json, signal
from dagster import AssetKey, DagsterInstance
from embedding_assets_tests.support.materializing import materialize, metadata_of

before = signal.getsignal(signal.SIGTERM)
with DagsterInstance.ephemeral() as instance:
    result = materialize(instance, selection=[AssetKey("chunk_embeddings")])
print(json.dumps({
    "success": result.success,
    "embedded": metadata_of(result, "chunk_embeddings")["run_embedded"],
    # Dagster's own, if any.
    "has_own_handler": signal.getsignal(signal.SIGTERM) in (before, signal.default_int_handler),
}))
"""


def texts(count: int) -> list[str]:
    return [f"{MARKER} {text}" for text in sentences(count, words=(3, 12))]


@pytest.fixture
def database_url(ray_cluster: RayCluster, server_url: str, template: str) -> Iterator[str]:
    """A migrated database of this test, under the name that the cluster's nodes know."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {ray_cluster.database} TEMPLATE {template} STRATEGY FILE_COPY")
        yield normalize_url(make_conninfo(server_url, dbname=ray_cluster.database))
        connection.execute(f"DROP DATABASE {ray_cluster.database} WITH (FORCE)")


@pytest.fixture
def audited(beside: psycopg.Connection) -> Callable[[], int]:
    """Lets the database count vectors that are written; returns most of any row."""
    beside.execute("CREATE TABLE written (chunk_hash text)")
    beside.execute("""
        CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO written VALUES (NEW.chunk_hash); RETURN NULL; END'
    """)
    beside.execute("""
        CREATE TRIGGER note_written AFTER UPDATE ON knowledge_base
        FOR EACH ROW WHEN (to_jsonb(NEW) IS DISTINCT FROM to_jsonb(OLD)) EXECUTE FUNCTION note_written()
    """)

    def most() -> int:
        query = "SELECT max(count) FROM (SELECT count(*) FROM written GROUP BY chunk_hash) AS of_a_row"
        [count] = beside.execute(query).fetchone() or [0]
        return int(count or 0)

    return most


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def outcome(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    answer: dict[str, object] = json.loads(out)
    return answer


def refusal(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status, and what was said."""
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert MARKER not in err
    return process.returncode, " ".join(err.split())


def embedded(connection: psycopg.Connection) -> int:
    return count(connection, "SELECT count(embedding) FROM knowledge_base")


def count(connection: psycopg.Connection, query: str) -> int:
    [number] = connection.execute(query).fetchone() or [0]
    return int(number)


def locks(connection: psycopg.Connection) -> int:
    return count(
        connection,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )


def holders(connection: psycopg.Connection) -> int:
    """Processes that hold buckets."""
    return count(
        connection,
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND objid::bigint < 256 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )


def sessions(connection: psycopg.Connection) -> int:
    return count(
        connection,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend'",  # autovacuum comes and goes
    )


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """A server that takes its time, so that runs are in the middle of something for some seconds."""
    with ApiServer(api_key=API_KEY, latency_seconds=0.2) as server:
        configure(monkeypatch, server, openai_max_inputs=10, openai_concurrency=4, commit_seconds=0.2)
        yield server


@pytest.mark.uncovered
def test_workers_killed_at_random_moments_cost_nothing(
    start: Start,
    ray_cluster: RayCluster,
    api: ApiServer,
    database: Database,
    beside: psycopg.Connection,
    audited: Callable[[], int],
):
    given = texts(3000)
    insert_chunks(database, given)
    chance = random.Random()
    most = killed = aim = 0
    run = start()
    while run.poll() is None:
        most = max(most, sessions(beside))
        workers = ray_cluster.workers()
        # So that, however long another takes to start, the one that is left does not finish alone.
        api.latency_seconds = 0.2 if killed == 5 or len(workers) == WORKERS else 4
        if killed < 5 and embedded(beside) > aim and len(workers) == WORKERS:
            time.sleep(chance.uniform(0, 0.2))
            with suppress(psutil.NoSuchProcess):
                chance.choice(workers).kill()
                killed += 1
                aim = embedded(beside) + chance.randint(1, 300)
        time.sleep(0.05)
    stats = outcome(run)
    assert killed == 5
    assert_vectors(database, given)
    assert audited() == 1
    assert most <= WORKERS * OF_A_WORKER + OF_A_RUN + 2, "this test's own two included"
    assert stats["busy_prefixes"] == []
    assert stats["index_seconds"] is not None
    assert 0 < stats["embedded"] <= 3000
    [record] = list_runs(database, list_spaces(database)[0].space.name)
    assert record.embedded == stats["embedded"]
    assert locks(beside) == 0


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real model, which takes nearly no time."""
    folder = save_tiny_model(tmp_path / "tiny")
    for name, value in {"MODEL_NAME": folder, "DIMENSIONS": DIMENSIONS, "MAX_SEQ_LENGTH": 64}.items():
        monkeypatch.setenv(f"EMBEDDING_{name}", str(value))


@pytest.mark.usefixtures("tiny")
def test_a_local_model_makes_the_vectors_of_one_process(start: Start, database: Database, beside: psycopg.Connection):
    given = texts(600)
    insert_chunks(database, given)
    stats = outcome(start("--prefixes", "0-b", "--workers", "1"))
    half = embedded(beside)
    assert stats["embedded"] == half == sum(hash_of(text)[0] < "c" for text in given)
    assert stats["device"] == "cpu"
    assert stats["threads"] >= stats["streams"] >= 1
    assert stats["model_load_seconds"] > 0
    [record] = list_runs(database, list_spaces(database)[0].space.name)
    assert (record.threads, record.streams) == (stats["threads"], stats["streams"])
    assert stats["prefixes"].keys() == {format(digit, "x") for digit in range(12)}
    found = stored(database)
    provider = create_provider(get_settings(), database)
    for batch in provider.embed(given):
        for index, vector in zip(batch.indices, batch.vectors, strict=True):
            if given[index] in found:
                assert float(np.dot(vector, found.pop(given[index]))) > 0.9999
    assert not found


@pytest.mark.usefixtures("tiny")
def test_in_an_outage_the_fallback_embeds(
    start: Start, api: ApiServer, database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {"FALLBACK": "local", "OPENAI_RETRY_SECONDS": "0.2"}.items():
        monkeypatch.setenv(f"EMBEDDING_{name}", value)
    given = texts(100)
    insert_chunks(database, given)
    select_unasked(get_settings(), database)
    api.faults.script.extend([Fault.SERVER_ERROR] * 1000)
    stats = outcome(start("--workers", "1"))
    assert stats["embedded"] == 0
    assert stats["fallback"]["embedded"] == 100
    assert {record.embedded for record in list_runs(database, stats["fallback"]["space"])} == {100}


def test_a_driver_that_is_killed_takes_its_workers_with_it(
    start: Start, ray_cluster: RayCluster, api: ApiServer, database: Database, beside: psycopg.Connection, audited
):
    given = texts(500)
    insert_chunks(database, given)
    database.close()
    mine = sessions(beside)
    run = start()
    wait_for(lambda: embedded(beside) > 50)
    api.latency_seconds = 10  # they are not done before they notice
    run.kill()
    run.communicate()
    wait_for(lambda: not ray_cluster.workers(), 20)
    api.latency_seconds = 0.2
    wait_for(lambda: locks(beside) == 0 and sessions(beside) <= mine, 5)
    before = embedded(beside)
    assert before < 500
    assert outcome(start(ray=()))["embedded"] == 500 - before
    assert_vectors(database, given)
    assert audited() == 1


def test_two_drivers_and_a_plain_run_share_the_work(
    start: Start, api: ApiServer, database: Database, beside: psycopg.Connection, audited
):
    given = texts(900)
    insert_chunks(database, given)
    half = ("--workers", "1", "--cpus-per-worker", "1")
    api.latency_seconds = 4  # neither is done before the other begins
    runs = [start(*half), start(*half)]
    wait_for(lambda: holders(beside) == 2)
    api.latency_seconds = 0.2
    runs.append(start("--prefixes", "8-f", ray=()))
    stats = [outcome(run) for run in runs]
    assert embedded(beside) == 900
    assert sum(one["embedded"] for one in stats) == 900
    assert [one["embedded"] > 0 for one in stats[:2]] == [True, True]
    assert_vectors(database, given)
    assert audited() == 1
    assert {count for text, count in api.seen.items() if MARKER in text} == {1}, "none was paid for twice"
    assert locks(beside) == 0


def test_what_another_run_holds_is_asked_for_again(
    start: Start, api: ApiServer, database: Database, beside: psycopg.Connection
):
    given = texts(300)
    insert_chunks(database, given)
    other = start("--prefixes", "0-3", ray=())
    wait_for(lambda: embedded(beside) > 0)
    stats = outcome(start())
    other_stats = outcome(other)
    assert stats["embedded"] + other_stats["embedded"] == embedded(beside) == 300
    assert stats["embedded"] > 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_says_where_it_stands(
    start: Start,
    ray_cluster: RayCluster,
    api: ApiServer,
    database: Database,
    beside: psycopg.Connection,
    number: signal.Signals,
    status: int,
):
    insert_chunks(database, texts(1000))
    database.close()
    mine = sessions(beside)
    run = start()
    wait_for(lambda: embedded(beside) > 50)
    api.latency_seconds = 1  # it is not done before it notices
    run.send_signal(number)
    code, said = refusal(run)
    assert code == status, said
    assert f"{1000 - embedded(beside):,} of 1,000 due chunks are left" in said
    wait_for(lambda: not ray_cluster.workers(), 10)
    assert locks(beside) == 0
    assert sessions(beside) <= mine
    [record] = list_runs(database, list_spaces(database)[0].space.name)
    assert record.embedded == embedded(beside)


def test_a_budget_holds_over_all_workers(
    start: Start, api: ApiServer, database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_RUN", "0.00004")
    insert_chunks(database, texts(1000))
    code, said = refusal(start())
    assert code == 1
    assert "EMBEDDING_BUDGET_USD_PER_RUN" in said
    assert "due chunks are left" in said
    assert API_KEY not in said
    assert 0 < embedded(beside) < 1000
    # More than was billed where a worker took too long to stop, and was ended with a request on its way.
    assert api.bill_usd <= sum(row.usd for row in usage(beside).values()) <= Decimal("0.00004")


def test_a_node_that_lacks_a_secret_is_named(
    start: Start, api: ApiServer, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDING_OPENAI_HEADERS", '{"x-team": "secretteam"}')
    insert_chunks(database, texts(10))
    code, said = refusal(start())
    assert code == 2
    assert "lacks EMBEDDING_OPENAI_HEADERS" in said
    assert "secretteam" not in said


def test_a_node_with_another_database_is_refused(
    start: Start, api: ApiServer, database: Database, server_url: str, template: str, monkeypatch: pytest.MonkeyPatch
):
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE elsewhere TEMPLATE {template}")
        monkeypatch.setenv("EMBEDDING_DATABASE_URL", server_url.replace("/postgres?", "/elsewhere?"))
        with psycopg.connect(server_url.replace("/postgres?", "/elsewhere?")) as other:
            other.execute("INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES ('00', 'a')")
        code, said = refusal(start())
        connection.execute("DROP DATABASE elsewhere WITH (FORCE)")
    assert code == 2
    assert "which is not what the run works on" in said


def test_too_much_is_asked_of_the_cluster(start: Start, api: ApiServer, database: Database):
    insert_chunks(database, texts(10))
    code, said = refusal(start("--workers", "7"))
    assert code == 1
    assert "has no room for 7 workers of 1 CPUs" in said
    assert "2 fit" in said


def test_dagster_embeds_there_where_the_settings_say_so(
    ray_cluster: RayCluster,
    client: None,
    api: ApiServer,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
):
    given = texts(200)
    insert_chunks(database, given)
    for name, value in {"ADDRESS": ray_cluster.address, "WORKERS": "2"}.items():
        monkeypatch.setenv(f"EMBEDDING_RAY_{name}", value)
    # In a process of its own: Ray reads its variables once, when it is imported.
    answer = outcome(
        processes.start([sys.executable, "-c", MATERIALIZE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )
    assert answer == {"success": True, "embedded": 200, "has_own_handler": True}
    assert_vectors(database, given)


def test_no_text_was_left_with_ray(ray_cluster: RayCluster):
    """After all of the above."""
    files = [path for path in ray_cluster.folder.rglob("*") if path.is_file()]
    assert [path for path in files if path.name.startswith("worker-")]
    assert [path for path in files if MARKER.encode() in path.read_bytes()] == []
    assert [path for path in files if API_KEY.encode() in path.read_bytes()] == []
