"""Fixtures for tests of what speaks SQL: a small vector space, a role without rights, folders for embedded servers."""

import dataclasses
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from pgvector import Vector
from psycopg.conninfo import make_conninfo

from embedding_assets.postgres import postmaster
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.spaces import SpaceRecord, register_space
from embedding_assets_tests.fakes import FAKE_SPACE, hash_of
from embedding_assets_tests.postgres.servers import make_folder

SMALL_SPACE = dataclasses.replace(FAKE_SPACE, dimensions=8)


@pytest.fixture
def record(database: Database) -> SpaceRecord:
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


@pytest.fixture
def role(server_url: str) -> Iterator[str]:
    """A role without any right. Ask for it before the database, which must go first."""
    name = f"role_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        yield name
        connection.execute(f"DROP ROLE {name}")


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


def as_role(url: str, role: str, **parameters: str) -> str:
    return make_conninfo(url, user=role, **parameters)


def unit_vectors(count: int, dimensions: int = 8, seed: int = 7) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def insert_vectors(
    database: Database, record: SpaceRecord, vectors: Sequence[NDArray[np.float32]], **fields: object
) -> list[str]:
    """Insert chunks that are embedded already; returns their hashes."""
    hashes = [hash_of(f"chunk {number}") for number in range(len(vectors))]
    names = ["chunk_hash", "chunk_text", record.column, *fields]
    marks = ", ".join(["%s"] * len(names))
    rows = [
        [chunk_hash, f"text of {chunk_hash}", Vector(vector), *fields.values()]
        for chunk_hash, vector in zip(hashes, vectors, strict=True)
    ]
    database.run(
        lambda connection: connection.cursor().executemany(
            f"INSERT INTO knowledge_base ({', '.join(names)}) VALUES ({marks})", rows
        )
    )
    return hashes


def in_threads(*works: Callable[[], object]) -> list:
    """Do all at once; returns what came back, in the order in which they were done."""
    results = []
    threads = [threading.Thread(target=lambda work=work: results.append(work())) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results
