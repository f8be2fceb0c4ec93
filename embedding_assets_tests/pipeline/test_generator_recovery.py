"""Runs whose connections are lost, one or all, at any moment: a pause, and nothing is encoded twice."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from embedding_assets.config import DatabaseConfig, Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.server import postmaster
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.server.system_user import server_user
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FAKE_SPACE, AskingProvider, FakeProvider, hash_of, insert_chunks
from embedding_assets_tests.support.generator_runs import Spoil, assert_right, embed, stored, texts
from embedding_assets_tests.support.servers import make_folder

LOSE_ALL = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def once(action: Callable[[], object]) -> Spoil:
    """Do something while the first batch is being encoded."""
    done: list[bool] = []

    def spoil(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if not done:
            done.append(True)
            action()
        return batch

    return spoil


class LoadingProvider(AskingProvider):
    """Takes its time to load, in which something happens."""

    def __init__(self, action: Callable[[], object], **options: object) -> None:
        super().__init__(**options)
        self._action = action
        self._loaded = False

    def load(self) -> float:
        if self._loaded:
            return 0.0
        self._action()
        self._loaded = True
        return 0.1


def test_all_connections_are_lost_while_the_model_loads(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(100))
    provider = LoadingProvider(lambda: beside.execute(LOSE_ALL))
    stats = embed(settings, database, provider, window_size=64)
    assert (stats.embedded, stats.busy_prefixes) == (100, [])
    assert sorted(provider.seen) == sorted(texts(100))
    assert_right(database, texts(100))


def test_all_connections_are_lost_several_times_while_it_encodes(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(200))

    def lose(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        if "text 7" in portion or "text 77" in portion or "text 177" in portion:
            beside.execute(LOSE_ALL)
        return batch

    provider = FakeProvider(spoil=lose)
    stats = embed(settings, database, provider, commit_seconds=1e-6, window_size=64)
    assert (stats.embedded, stats.skipped) == (200, 0)
    assert sorted(provider.seen) == sorted(texts(200))
    assert_right(database, texts(200))


def test_what_another_run_takes_while_the_model_loads_is_left_to_it(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(100))
    theirs = {text for text in texts(100) if hash_of(text)[0] in "3456"}
    with ExitStack() as stack:

        def take() -> None:
            beside.execute(LOSE_ALL)
            others = stack.enter_context(closing(PrefixLocks(database, FAKE_SPACE.name)))
            assert len(others.acquire(range(0x30, 0x70))) == 0x40

        provider = LoadingProvider(take)
        stats = embed(settings, database, provider, window_size=64)
    assert stats.busy_prefixes == ["3", "4", "5", "6"]
    assert set(provider.seen) == set(texts(100)) - theirs
    assert_right(database, [text for text in texts(100) if text not in theirs])


def test_what_another_run_has_embedded_meanwhile_is_not_encoded_again(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(100))

    def replace() -> None:
        beside.execute(LOSE_ALL)
        assert embed(settings, database, prefixes="8-f").embedded

    provider = LoadingProvider(replace)
    embed(settings, database, provider, window_size=64)
    assert {hash_of(text)[0] for text in provider.seen} <= set("01234567")
    assert_right(database, texts(100))


def test_what_is_embedded_is_written_though_another_run_has_its_prefix_now(
    settings: Settings, database: Database, beside: psycopg.Connection
):
    insert_chunks(database, texts(64))
    with ExitStack() as stack:

        def take() -> None:
            beside.execute(LOSE_ALL)
            stack.enter_context(closing(PrefixLocks(database, FAKE_SPACE.name))).acquire(range(256))

        provider = AskingProvider(spoil=once(take))
        stats = embed(settings, database, provider, commit_seconds=1e-6)
    assert (stats.embedded, len(provider.seen)) == (16, 16)
    assert set(stored(database)) == set(provider.seen)
    assert len(stats.busy_prefixes) == 16


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """Of a server of its own."""
    path = make_folder()
    yield path
    stop_embedded_server(path)
    shutil.rmtree(path)


@pytest.fixture
def server(data_folder: Path) -> Iterator[Database]:
    """A database on it."""
    with Database(start_embedded_server(data_folder), DatabaseConfig(retry_seconds=30)) as database:
        migrate(database)
        yield database


def test_the_server_is_restarted_in_the_middle(settings: Settings, server: Database, data_folder: Path):
    insert_chunks(server, texts(200))
    cluster = data_folder / "postgres"
    starting: list[threading.Thread] = []

    def start_again() -> None:
        time.sleep(1)
        postmaster.ensure_running(cluster, server_user(cluster))

    def restart() -> None:
        postmaster.stop(cluster)
        starting.append(threading.Thread(target=start_again))
        starting[0].start()

    provider = FakeProvider(spoil=once(restart))
    stats = embed(settings, server, provider, commit_seconds=1e-6, window_size=64)
    starting[0].join()
    assert (stats.embedded, stats.skipped, stats.busy_prefixes) == (200, 0, [])
    assert sorted(provider.seen) == sorted(texts(200))
    assert_right(server, texts(200))
