"""Runs in processes of their own: killed, side by side, interrupted."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from embedding_assets.config import Settings, get_settings
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.locks import TABLE_LOCK, hold
from embedding_assets.postgres.server.embedded import stop_embedded_server
from embedding_assets.postgres.spaces import register_space
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import FAKE_SPACE, hash_of, insert_chunks
from embedding_assets_tests.support.servers import make_folder, server_pid
from embedding_assets_tests.support.waiting import wait_until

CHUNKS = 400
TEXTS = [f"text {number}" for number in range(CHUNKS)]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where the processes write what they encode."""
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With one connection: a pool that grows under load would be taken for what a process has left behind."""
    return settings.model_copy(update={"database": settings.database.model_copy(update={"pool_size": 1})})


@pytest.fixture
def start(
    notes: Path, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.Popen[str]]:
    monkeypatch.setenv("EMBEDDING_COMMIT_SECONDS", "0.05")
    monkeypatch.setenv("EMBEDDING_WINDOW_SIZE", "100")
    insert_chunks(database, TEXTS)

    def start(seconds: float = 0.02, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "embedding_assets_tests.support.embedding_process", str(notes), str(seconds)]
        return processes.start(
            [*command, *(arguments or ("embed", "--json", "--no-index"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def outcome(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    answer: dict[str, object] = json.loads(out)
    return answer


def encoded(notes: Path) -> list[tuple[str, str]]:
    """(process, hash) of every text that was encoded, in order."""
    return [tuple(line.split()) for line in notes.read_text().splitlines()]


def embedded(database: Database) -> dict[str, str]:
    """Hash → version of the row, of all embedded chunks."""
    query = "SELECT chunk_hash, xmin::text FROM knowledge_base WHERE embedding IS NOT NULL"
    return dict(database.run(lambda connection: connection.execute(query).fetchall()))


def sessions(database: Database) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    [count] = database.run(lambda connection: connection.execute(query).fetchone()) or [0]
    return int(count)


def test_killed_at_any_moment_the_next_run_finishes_and_repeats_nothing(
    start: Callable[..., subprocess.Popen[str]], notes: Path, database: Database
):
    chance = random.Random()
    mine = sessions(database)
    for _ in range(4):
        before = embedded(database)
        lines = len(encoded(notes))
        process = start()
        wait_until(lambda lines=lines: len(encoded(notes)) > lines)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=180)
        wait_until(lambda: sessions(database) <= mine)
        assert not {chunk_hash for _, chunk_hash in encoded(notes)[lines:]} & set(before)
    before = embedded(database)
    lines = len(encoded(notes))
    assert 0 < len(before) < CHUNKS

    stats = outcome(start(0))
    assert stats["embedded"] == CHUNKS - len(before)
    assert stats["busy_prefixes"] == []
    last = [chunk_hash for _, chunk_hash in encoded(notes)[lines:]]
    assert sorted(last) == sorted({hash_of(text) for text in TEXTS} - set(before))
    after = embedded(database)
    assert len(after) == CHUNKS
    # Rows that were embedded have not been written again.
    assert {chunk_hash: after[chunk_hash] for chunk_hash in before} == before


def test_two_runs_at_once_encode_each_chunk_once(
    start: Callable[..., subprocess.Popen[str]], notes: Path, database: Database
):
    stats = [outcome(process) for process in [start(), start()]]
    busy = [one for one in stats if one["busy_prefixes"]]
    rounds = 0
    while len(embedded(database)) < CHUNKS:  # both may have taken some prefixes and left the others to each other
        rounds += 1
        assert rounds <= 1
        outcome(start(0))
    counts = Counter(chunk_hash for _, chunk_hash in encoded(notes))
    assert counts == Counter(hash_of(text) for text in TEXTS)
    assert busy or len({process for process, _ in encoded(notes)}) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_says_where_it_stands(
    start: Callable[..., subprocess.Popen[str]],
    notes: Path,
    database: Database,
    number: signal.Signals,
    status: int,
):
    mine = sessions(database)
    process = start()
    wait_until(lambda: len(encoded(notes)) > 40)
    process.send_signal(number)
    _, err = process.communicate(timeout=180)
    assert process.returncode == status, err
    assert "Traceback" not in err
    kept = len(embedded(database))
    assert 0 < kept < CHUNKS
    assert f"{CHUNKS - kept} of {CHUNKS} due chunks are left" in err
    # What was embedded is committed, but for the batch that was just being encoded.
    assert len(encoded(notes)) - kept <= 8
    wait_until(lambda: sessions(database) <= mine)
    assert outcome(start(0))["embedded"] == CHUNKS - kept


@pytest.mark.parametrize(
    "in_the_way",
    [
        "LOCK TABLE knowledge_base IN SHARE MODE",  # the write waits
        "LOCK TABLE knowledge_base IN ACCESS EXCLUSIVE MODE",  # the next window, too
        "SELECT * FROM embedding_spaces FOR UPDATE",  # the record of the run
    ],
)
def test_one_interrupt_is_enough_while_somebody_holds_a_lock(
    start: Callable[..., subprocess.Popen[str]],
    notes: Path,
    database: Database,
    beside: psycopg.Connection,
    in_the_way: str,
):
    process = start()
    wait_until(lambda: len(encoded(notes)) > 40)
    with beside.transaction():
        beside.execute(in_the_way)
        lines = len(encoded(notes))
        wait_until(lambda: len(encoded(notes)) > lines or waits_for_a_lock(beside))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=180)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert "Stopped" in err
    kept = len(embedded(database))
    assert outcome(start(0))["embedded"] == CHUNKS - kept


def waits_for_a_lock(connection: psycopg.Connection) -> bool:
    query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = %s)"
    return connection.execute(query, ["Lock"]).fetchone() == (True,)


def test_stopped_while_it_waits_for_another_to_change_the_table(
    notes: Path, settings: Settings, database: Database, start: Callable[..., subprocess.Popen[str]]
):
    build_vector_index(database, register_space(database, FAKE_SPACE), settings.index)  # to be dropped first
    with database.session() as connection, hold(connection, TABLE_LOCK):
        process = start(0.02, "embed", "--json")
        wait_until(lambda: len(encoded(notes)) > 8)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert f"{CHUNKS} of {CHUNKS} due chunks are left" in err


def test_the_embedded_server_stops_with_a_run_that_is_terminated(notes: Path, monkeypatch: pytest.MonkeyPatch):
    folder = make_folder()
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(folder))
    monkeypatch.delenv("EMBEDDING_DATABASE_URL", raising=False)
    with open_database(get_settings()) as database:
        insert_chunks(database, TEXTS)
    command = [sys.executable, "-m", "embedding_assets_tests.support.embedding_process", str(notes), "0.05"]
    process = processes.start([*command, "embed"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(encoded(notes)) > 40)
    stop_embedded_server(folder)
    assert server_pid(folder), "the run uses it"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 143, err
    assert server_pid(folder) is None
    shutil.rmtree(folder)
