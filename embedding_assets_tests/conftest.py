"""Fixtures: a real PostgreSQL with pgvector for the session, a fresh migrated database for each test."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from pgvector.psycopg import register_vector
from psycopg.conninfo import make_conninfo

from embedding_assets.config import DatabaseConfig, Settings, get_settings
from embedding_assets.encoder import reference
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.precision import tiles_are_broken
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.url import normalize_url
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.default_model import HUB_CACHE

if tiles_are_broken():
    # Where bfloat16 would use them and crash, it is tested without; before torch computes anything.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell. What the tests start would inherit it, and not stop when it is interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Its assertions explain themselves as those of a test do.
pytest.register_assert_rewrite("embedding_assets_tests.support.generator_runs")


_FOLDER = "FOLDER_OF_THESE_TESTS"
_SHARED_MEMORY = Path("/dev/shm")


def pytest_configure(config: pytest.Config) -> None:
    """Make one folder for the session, which its workers find in the environment. Short, for the socket's path.

    In shared memory, where there is enough: most tests have a database of their own, whose files are copied from a
    template, and a disk takes far longer for that than the tests themselves.
    """
    if not hasattr(config, "workerinput"):
        is_large = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 2 * 2**30
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="ea-", dir=_SHARED_MEMORY if is_large else None)
        Path(os.environ[_FOLDER]).chmod(0o755)  # a server that root starts runs as another user
        # Comparisons of models with their library: made once by all of these tests, and not kept longer.
        os.environ["HF_ASSETS_CACHE"] = os.environ[_FOLDER]
        # No model of the person who runs the tests, but for the default one where a test asks for it.
        own = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
        os.environ.setdefault(HUB_CACHE, os.environ.get("HF_HUB_CACHE", str(own)))
        os.environ["HF_HUB_CACHE"] = f"{os.environ[_FOLDER]}/hub"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it when all workers are done."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Take no coverage of a test that is marked ``uncovered``.

    Threads that outlive their test go on being traced: once coverage is stopped as a whole, they are not any more.
    """
    trace, trace_thread = sys.gettrace(), threading.gettrace()
    if trace is None or item.get_closest_marker("uncovered") is None:
        return (yield)
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    try:
        return (yield)
    finally:
        threading.settrace(trace_thread)  # type: ignore[arg-type]
        sys.settrace(trace)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The session's folder: its cluster and its demo model."""
    return Path(os.environ[_FOLDER])


@pytest.fixture(scope="session")
def server_url(data_dir: Path) -> Iterator[str]:
    """A superuser's URL of the session's server."""
    url = start_embedded_server(data_dir)
    # These databases need not survive a power cut, and dropping each would wait for the disk.
    _execute(url, "ALTER SYSTEM SET fsync = off")
    _execute(url, "ALTER SYSTEM SET full_page_writes = off")
    _execute(url, "SELECT pg_reload_conf()")
    yield url
    stop_embedded_server(data_dir)


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Name of a migrated database to copy."""
    name = f"template_{uuid.uuid4().hex}"
    _execute(server_url, f"CREATE DATABASE {name}")
    with Database(make_conninfo(server_url, dbname=name), DatabaseConfig()) as database:
        migrate(database)
    yield name
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_url(server_url: str) -> Iterator[str]:
    """A database without any table or extension."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(server_url, f"CREATE DATABASE {name}")
    yield normalize_url(make_conninfo(server_url, dbname=name))
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """A migrated database of its own for each test."""
    name = f"test_{uuid.uuid4().hex}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield normalize_url(make_conninfo(server_url, dbname=name))
    if "embedding_assets.retrieval" in sys.modules:
        sys.modules["embedding_assets.retrieval"].close_searchers()
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def clean_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    """No setting of the person who runs the tests; no network; the demo model instead of the default.

    No coverage in processes that are started, which takes them twice as long: most cover nothing new. Those of tests
    marked ``covered_processes`` do.
    """
    if request.node.get_closest_marker("covered_processes") is None:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    for name in list(os.environ):
        if name.startswith(("EMBEDDING_", "DAGSTER_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(data_dir))
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", DEMO_MODEL)
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "5")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's library computes here, where it is imported once: another process takes seconds for that."""
    monkeypatch.setattr(reference, "_compute_elsewhere", lambda *_: None)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """A test that fails must not leave a process and its pipes to those after it."""
    yield
    processes.end_all()


@pytest.fixture
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that lead to this test's database and the demo model."""
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", database_url)
    return get_settings()


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """This test's database, opened."""
    with open_database(settings) as database:
        yield database


@pytest.fixture
def beside(database_url: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection to this test's database."""
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        register_vector(connection)
        yield connection


@pytest.fixture
def role(server_url: str) -> Iterator[str]:
    """A role without any right. Ask for it before the database, which must go first."""
    name = f"role_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        yield name
        connection.execute(f"DROP ROLE {name}")


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command in this process; returns exit status, standard output, standard error."""
    from embedding_assets.cli.app import main

    root, package = logging.getLogger(), logging.getLogger("embedding_assets")
    handlers, levels = root.handlers[:], (root.level, package.level)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedding-assets", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        code = exit_.value.code or 0
        assert isinstance(code, int)
        return code, captured.out, captured.err

    yield run
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    package.setLevel(levels[1])
