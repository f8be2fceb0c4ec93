"""Runs in processes of their own: killed, side by side, interrupted."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import hash_of, insert_chunks

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

    def start(seconds: float = 0.02) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "embedding_assets_tests.support.embedding_process", str(notes), str(seconds)]
        return processes.start(
            [*command, "embed", "--json", "--no-index"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def outcome(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    answer: dict[str, object] = json.loads(out)
    return answer


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


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
        wait_for(lambda lines=lines: len(encoded(notes)) > lines)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=30)
        wait_for(lambda: sessions(database) <= mine)
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


def test_interrupted_it_says_where_it_stands(
    start: Callable[..., subprocess.Popen[str]], notes: Path, database: Database
):
    mine = sessions(database)
    process = start()
    wait_for(lambda: len(encoded(notes)) > 40)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    kept = len(embedded(database))
    assert 0 < kept < CHUNKS
    assert f"{CHUNKS - kept} of {CHUNKS} due chunks are left" in err
    wait_for(lambda: sessions(database) <= mine)
    assert outcome(start(0))["embedded"] == CHUNKS - kept
