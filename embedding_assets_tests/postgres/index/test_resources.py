"""A build asks for the workers and the memory that the server has, unless they are set."""

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.postgres.index import resources
from embedding_assets.postgres.index.resources import (
    ServerResources,
    choose_resources,
    is_here,
    plan_memory,
    plan_workers,
    read_resources,
)

AS_IT_COMES = ServerResources(most_workers=8, workers=2, maintenance_mb=64, shared_mb=128)
HERE = ServerResources(8, 2, 64, 128, cores=4, free_mb=6000)


@pytest.mark.parametrize(
    ("configured", "server", "workers"),
    [
        (None, AS_IT_COMES, 2),
        (None, ServerResources(8, 5, 64, 128), 5),
        (None, ServerResources(1, 2, 64, 128), 1),
        (None, HERE, 3),
        (None, ServerResources(8, 2, 64, 128, cores=1), 0),
        (None, ServerResources(8, 2, 64, 128, cores=64), 8),
        (6, AS_IT_COMES, 6),
        (20, AS_IT_COMES, 8),
        (0, HERE, 0),
    ],
)
def test_workers(configured, server, workers):
    assert plan_workers(configured, server) == workers


@pytest.mark.parametrize(
    ("configured", "server", "wanted", "workers", "memory"),
    [
        (None, AS_IT_COMES, 400, 2, 400),
        (None, AS_IT_COMES, 5000, 2, 1024),
        (None, ServerResources(8, 2, 64, 8192), 5000, 2, 5000),
        (None, ServerResources(8, 2, 2048, 128), 5000, 2, 2048),
        (None, HERE, 5000, 3, 3000),
        (None, ServerResources(8, 2, 64, 128, cores=4, free_mb=10), 5000, 0, 64),
        (None, ServerResources(8, 2, 64, 128, cores=4), 5000, 0, 1024),
        (300, HERE, 5000, 3, 300),
        (3000, HERE, 9, 3, 128),  # PostgreSQL starts no worker for less than 32 MB
    ],
)
def test_memory(configured, server, wanted, workers, memory):
    assert plan_memory(configured, server, wanted, workers) == memory


def test_what_a_server_says_is_read_and_a_server_here_is_known_by_its_socket(database):
    with database.session() as connection:
        connection.execute("SET max_parallel_workers = 3")
        connection.execute("SET max_parallel_maintenance_workers = 1")
        connection.execute("SET maintenance_work_mem = '96MB'")
        server = read_resources(connection)
    assert (server.most_workers, server.workers, server.maintenance_mb) == (3, 1, 96)
    assert server.shared_mb > 0
    assert server.cores >= 1
    assert server.free_mb > 0


def test_more_workers_than_the_server_can_start_are_said_to_be_too_many(database, caplog):
    with database.session() as connection:
        connection.execute("SET max_parallel_workers = 3")
        assert choose_resources(connection, IndexConfig(workers=9), 100, in_parallel=True)[0] == 3
        assert "EMBEDDING_INDEX_WORKERS=9 is more than the server's max_parallel_workers" in caplog.text
        caplog.clear()
        assert choose_resources(connection, IndexConfig(workers=9), 100, in_parallel=False) == (0, 100)
        assert not caplog.records


@pytest.mark.parametrize(
    ("host", "by_socket", "here"),
    [
        ("/var/run/postgresql", True, True),
        ("@abstract", True, True),
        ("/var/run/pgbouncer", False, False),
        ("127.0.0.1", False, False),  # tunnels and ports of containers end here too
        ("pooler.example", True, False),
    ],
)
def test_which_server_is_here(host, by_socket, here):
    assert is_here(host, by_socket=by_socket) is here


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (("memory.max", "memory.current", "memory.stat"), ""),
        (("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"), "total_"),
    ],
)
def test_in_a_container_what_its_limit_leaves_is_free_and_cached_files_are(tmp_path, monkeypatch, names, prefix):
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    limit, usage, statistics = (tmp_path / name for name in names)
    limit.parent.mkdir(exist_ok=True)
    limit.write_text(f"{64 << 20}\n")
    usage.write_text(f"{63 << 20}\n")
    counts = {"active_file": 10 << 20, "inactive_file": 20 << 20, "shmem": 5 << 20}
    statistics.write_text("".join(f"{prefix}{name} {value}\n" for name, value in counts.items()))
    assert resources._free_mb() == 31
    limit.write_text("max\n")
    assert resources._free_mb() > 31
