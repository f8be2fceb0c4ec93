"""Fixtures for tests of what speaks SQL: a small vector space, folders for embedded servers."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.server import postmaster
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.spaces import register_space
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.servers import make_folder
from embedding_assets_tests.support.tables import SMALL_SPACE


@pytest.fixture
def column(database: Database) -> SpaceColumn:
    """The table's first space, of 8 dimensions."""
    return register_space(database, SMALL_SPACE)


@pytest.fixture
def execute(database: Database) -> Callable[..., list[tuple]]:
    """Run one statement in this test's database, in a transaction of its own, and return its rows."""

    def run(statement: str, *parameters: object) -> list[tuple]:
        def work(connection):
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

        return database.run(work)

    return run


@pytest.fixture(scope="session")
def initialized() -> Iterator[Path]:
    """PostgreSQL's own folder as a first start leaves it, to copy."""
    path = make_folder()
    start_embedded_server(path)
    stop_embedded_server(path)
    yield path / "postgres"
    shutil.rmtree(path)


@pytest.fixture
def empty() -> Iterator[Path]:
    """A data folder in which nothing was started yet; whatever server it gets is stopped."""
    path = make_folder()
    yield path
    for pid_file in path.rglob("postmaster.pid"):
        stop_embedded_server(pid_file.parent.parent)
        postmaster.stop(pid_file.parent)
    shutil.rmtree(path)


@pytest.fixture
def folder(empty: Path, initialized: Path) -> Path:
    """A data folder that is made already, to save the second that it takes."""
    subprocess.run(["cp", "-a", initialized, empty], check=True)
    return empty
