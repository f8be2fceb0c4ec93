import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster
import psycopg
import pytest
import yaml
from dagster import AssetKey, DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import event

import embedding_assets
from embedding_assets.defs import storage
from embedding_assets.defs.storage import EmbeddingAssetsStorage
from embedding_assets.errors import ConfigurationError, DatabasePermissionError, DatabaseUnavailableError
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets.postgres.url import normalize_url
from embedding_assets_tests.support import processes

PACKAGE = Path(embedding_assets.__file__).parent
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"


@pytest.fixture(scope="module")
def data_dir():
    path = Path(tempfile.mkdtemp(prefix="ea", dir="/tmp"))
    path.chmod(0o755)
    start_embedded_server(path)
    yield path
    stop_embedded_server(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server(data_dir):
    return start_embedded_server(data_dir)


@pytest.fixture
def database(server):
    """A fresh database on the server; its URL."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
        yield normalize_url(make_conninfo(server, dbname="fresh"))
        connection.execute("DROP DATABASE fresh WITH (FORCE)")
        connection.execute("DROP ROLE IF EXISTS guest")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An instance folder with the dagster.yaml that is shipped."""
    shutil.copy(PACKAGE / "defs" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0")
    monkeypatch.delenv("EMBEDDING_DATABASE_URL", raising=False)
    return tmp_path


def tables(url, schema):
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(TABLES, [schema])}


def create():
    return EmbeddingAssetsStorage.from_config_value(None, {})


def test_what_is_written_is_read_back(home, data_dir, server, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(data_dir))

    @dagster.asset
    def trivial():
        return dagster.MaterializeResult(metadata={"rows": 3})

    with DagsterInstance.get() as instance:
        assert instance.get_ref().storage_data.class_name == EmbeddingAssetsStorage.__name__
        assert dagster.materialize([trivial], instance=instance).success

    with DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(AssetKey("trivial"))
        assert event.asset_materialization.metadata["rows"].value == 3
        assert instance.get_runs_count() == 1
    assert {"runs", "event_logs", "jobs", "alembic_version"} <= tables(server, "dagster")
    assert tables(server, "public") == set()


def test_another_database_starts_nothing_embedded(home, database, monkeypatch):
    unused = home / "unused"
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(unused))
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", make_conninfo(database))  # as keywords

    with DagsterInstance.get() as instance:
        assert instance.get_runs_count() == 0

    assert not unused.exists()
    assert "runs" in tables(database, "dagster")


def test_three_processes_start_at_once_on_a_fresh_database(home, database):
    script = "from dagster import DagsterInstance; print(DagsterInstance.get().get_runs_count())"
    environment = os.environ | {"EMBEDDING_DATABASE_URL": database}
    started = [
        processes.start(
            [sys.executable, "-c", script],
            env=environment,
            cwd=PACKAGE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]

    for process in started:
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, output) == (0, "0\n"), errors


def test_the_password_stays_out_of_sight(home, database, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", normalize_url(make_conninfo(database, password="hunter2")))

    created = create()
    assert "hunter2" in created.postgres_url
    assert "hunter2" not in repr(created)
    with DagsterInstance.get() as instance:
        assert "hunter2" not in str(instance.get_ref())
        assert "hunter2" not in instance.info_str()


def test_server_options_and_time_limit_are_kept(home, database, monkeypatch):
    url = normalize_url(make_conninfo(database, options="-c work_mem=7MB", connect_timeout=3))
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", url)

    created = create()
    assert shown(created, "work_mem", "search_path") == ["7MB", "dagster"]
    parameters = conninfo_to_dict(created.postgres_url)
    assert (parameters["connect_timeout"], parameters["keepalives_idle"]) == ("3", "20")


def shown(created, *names):
    with created.run_storage.connect() as connection:
        return [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]


def test_no_options_are_sent_of_our_own(home, database, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", database)
    created = create()
    assert "options" not in conninfo_to_dict(created.postgres_url)
    assert shown(created, "search_path") == ["dagster"]
    with psycopg.connect(database) as other:  # not of an engine
        assert other.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_each_connection_has_the_password_of_the_day(home, database, monkeypatch, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", database)
    monkeypatch.setenv("EMBEDDING_DATABASE_PASSWORD_FILE", str(secret))
    created = create()
    engine = created.run_storage._engine
    given = []

    @event.listens_for(engine, "do_connect")
    def note(dialect, record, arguments, parameters):
        given.append(parameters["password"])

    with created.run_storage.connect():
        secret.write_text("hunter3")
    with created.run_storage.connect():
        pass
    assert given == ["hunter2", "hunter3"]
    assert "hunter" not in f"{created.postgres_url} {created!r}"


def test_a_role_that_may_not_create_the_schema_is_shown_what_to_run(home, database, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", normalize_url(make_conninfo(database, user="guest")))
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("CREATE ROLE guest LOGIN")
        with pytest.raises(DatabasePermissionError, match="create the schema dagster") as refused:
            create()

        owner.execute("CREATE SCHEMA dagster")
        with pytest.raises(DatabasePermissionError, match="create tables") as refused_again:
            create()
        owner.execute(str(refused_again.value).partition("run: ")[2])
        create()

        owner.execute("DROP SCHEMA dagster CASCADE")
        owner.execute(str(refused.value).partition("run: ")[2])
        create()
        owner.execute("DROP OWNED BY guest")


def test_a_server_that_is_away_is_one_line(home, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d")

    with pytest.raises(DatabaseUnavailableError) as caught:
        create()

    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_malformed_setting_is_named(home, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "hunter2")

    with pytest.raises(ConfigurationError, match="EMBEDDING_DATABASE_URL") as caught:
        create()

    assert "hunter2" not in str(caught.value)


def test_loading_it_loads_neither_models_nor_assets():
    script = (
        f"import sys, {storage.__name__}; "
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers') "
        "or name in ('embedding_assets.definitions', 'embedding_assets.defs.assets')])"
    )

    output = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, check=True, capture_output=True, text=True
    ).stdout

    assert output == "[]\n"


def test_runs_begin_at_once_and_sensors_look_side_by_side(home, data_dir, server, monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATA_DIR", str(data_dir))
    with DagsterInstance.get() as instance:
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.get_concurrency_config().run_queue_config.max_concurrent_runs == 4
        settings = instance.get_sensor_settings()
        assert (settings["use_threads"], settings["num_workers"]) == (True, 4)


def test_the_checkout_uses_what_is_shipped():
    link = PACKAGE.parent / "dagster.yaml"
    if not link.exists():
        pytest.skip("not a checkout")
    assert link.resolve() == (PACKAGE / "defs" / "dagster.yaml").resolve()
    (location,) = yaml.safe_load((PACKAGE.parent / "workspace.yaml").read_text())["load_from"]
    assert location["python_module"]["module_name"] == "embedding_assets.definitions"
