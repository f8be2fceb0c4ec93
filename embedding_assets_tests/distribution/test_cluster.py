"""Clusters that are started for a run, and Ray where it is not installed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import psycopg
import pytest

from embedding_assets.distribution.cluster import connected
from embedding_assets.errors import ClusterError, ConfigurationError
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.api_runs import configure, sentences
from embedding_assets_tests.support.dagster_ui import free_port
from embedding_assets_tests.support.fakes import insert_chunks
from fake_api.server import ApiServer


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def number(connection: psycopg.Connection, query: str) -> int:
    [count] = connection.execute(query).fetchone() or [0]
    return int(count)


def command_of(process: psutil.Process) -> str:
    """Its first word; empty once it has ended."""
    try:
        return "".join(process.cmdline()[:1])
    except psutil.NoSuchProcess:
        return ""


def connections_of(process: psutil.Process) -> list[Any]:
    """None of one that has ended."""
    try:
        return list(process.net_connections("inet"))
    except psutil.NoSuchProcess:
        return []


def workers_below(pid: int) -> list[psutil.Process]:
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if command_of(child).startswith("ray::Worker")]


def test_a_cluster_for_a_run_is_on_loopback_and_dies_with_it(
    database: Database, beside: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, data_dir
):
    monkeypatch.setenv("RAY_TMPDIR", str(data_dir / f"l{os.getpid()}"))
    insert_chunks(database, sentences(1000))
    with ApiServer(latency_seconds=0.2) as server:
        configure(monkeypatch, server, openai_max_inputs=10, openai_concurrency=2, commit_seconds=0.2)
        command = [sys.executable, "-c", "from embedding_assets.cli.entry import main; main()", "embed", "--json"]
        run = processes.start(
            [*command, "--ray", "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: run.poll() is not None or number(beside, "SELECT count(embedding) FROM knowledge_base") > 20)
        server.latency_seconds = 10  # it is not done while it is looked at
        wait_for(lambda: run.poll() is not None or len(workers_below(run.pid)) == 2)
        assert run.poll() is None
        children = psutil.Process(run.pid).children(recursive=True)
        names = {child: command_of(child) for child in children}
        listening = {
            address.laddr.ip.removeprefix("::ffff:")
            for child in children
            for address in connections_of(child)
            if address.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        run.kill()
        run.communicate()
        # Its agents look about for it a minute longer, and hold nothing.
        agents = [child for child in children if "Agent" in names[child]]
        _, alive = psutil.wait_procs([child for child in children if child not in agents], timeout=60)
        assert alive == []
        for agent in agents:
            with suppress(psutil.NoSuchProcess):
                agent.kill()
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    database_only = " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    wait_for(lambda: number(beside, query + database_only) == 0)
    assert 0 < number(beside, "SELECT count(embedding) FROM knowledge_base") < 1000


def test_an_address_where_nothing_listens_is_refused_at_once():
    for address in (f"127.0.0.1:{free_port()}", "no-such-machine.invalid:6379"):
        sentence = f"no Ray cluster answers at {address}.*leave the address away"
        with pytest.raises(ClusterError, match=sentence), connected(address):
            pytest.fail("it is connected")


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'embedding-assets\[ray\]'"), connected("local"):
        pass
    assert "RAY_AUTH_TOKEN" not in os.environ
