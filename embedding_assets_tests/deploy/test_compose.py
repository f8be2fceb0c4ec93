"""The compose file: what stands in it, and its services, each by its own command, as processes of this machine."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
import yaml
from dagster import DagsterInstance, DefaultRunLauncher

from embedding_assets import embed_pending
from embedding_assets.config import Settings, get_settings
from embedding_assets.defs.storage import EmbeddingAssetsStorage
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.chart import DEPLOY, read_settings
from embedding_assets_tests.support.dagster_ui import free_port, wait_for_definitions
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.generator_runs import texts
from embedding_assets_tests.support.waiting import wait_until

BIN = Path(sys.executable).parent
HOME = "/opt/dagster/dagster_home"
CHUNKS = 4000
APPLICATION = ("model", "code", "daemon", "webserver")


@pytest.fixture(scope="module")
def compose() -> dict:
    """The file with its variables at their defaults."""
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text("utf-8")))


def test_what_is_named_is_declared_and_there(compose: dict):
    declared = {kind: compose[kind] for kind in ("secrets", "configs", "volumes")}
    for service in compose["services"].values():
        sources = [mount.partition(":")[0] for mount in service.get("volumes", ())]
        assert set(sources) <= declared["volumes"].keys()
        assert set(service.get("secrets", ())) <= declared["secrets"].keys()
        assert {config["source"] for config in service.get("configs", ())} <= declared["configs"].keys()
        assert service.get("depends_on", {}).keys() <= compose["services"].keys()
        assert all((DEPLOY / item["path"]).exists() for item in service.get("env_file", ()))
    assert all((DEPLOY / config["file"]).exists() for config in declared["configs"].values())
    assert (DEPLOY / compose["x-app"]["build"]["context"] / compose["x-app"]["build"]["dockerfile"]).exists()


def test_volumes_lie_over_folders_that_are_the_users(compose: dict):
    """A new volume has the owner of what the image has in its place, which is root where there is nothing."""
    [made] = re.findall(r"install -d -o embedding -g embedding (.+)", (DEPLOY / "Dockerfile").read_text("utf-8"))
    targets = [mount.split(":")[1] for mount in compose["x-app"]["volumes"]]
    assert targets
    assert set(targets) <= set(made.split())


def test_parts_wait_for_what_they_need(compose: dict):
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    assert waits["code"] == {"database": "service_healthy", "model": "service_completed_successfully"}
    assert waits["daemon"] == waits["webserver"] == {"code": "service_healthy"}
    assert all("healthcheck" in compose["services"][name] for name in ("database", "code", "daemon", "webserver"))


def test_nothing_listens_to_other_machines_and_no_secret_stands_there(compose: dict):
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    text = (DEPLOY / "compose.yaml").read_text("utf-8") + (DEPLOY / "settings.env").read_text("utf-8")
    assert not re.search(r"postgres(ql)?://[^@\s]*:[^@\s]*@|PASSWORD: |API_KEY", text)
    for name in APPLICATION:
        service = compose["services"][name]
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
        # Dagster writes into all of its home: logs, queues, what runs print.
        assert f"dagster:{HOME}" in service["volumes"]


def test_the_settings_are_right(compose: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name, value in {**read_settings(), **compose["x-app"]["environment"]}.items():
        monkeypatch.setenv(name, value)
    settings = get_settings()
    assert settings.database.password_file == Path("/run/secrets") / compose["x-app"]["secrets"][0]
    assert settings.database.url.get_secret_value().endswith("@database:5432/embedding")
    assert "database" in compose["services"]
    # The server builds an index in memory that is shared, of which a container has what is set.
    assert settings.index.memory_mb < 2048
    assert compose["services"]["database"]["shm_size"] == "2gb"


def test_its_instance_is_the_one_that_is_shipped_but_for_places():
    ours = yaml.safe_load((DEPLOY / "dagster.yaml").read_text("utf-8"))
    shipped = yaml.safe_load(files("embedding_assets.defs").joinpath("dagster.yaml").read_text("utf-8"))
    assert {name: ours[name] for name in shipped} == shipped
    assert ours.keys() - shipped.keys() == {"run_launcher", "compute_logs", "local_artifact_storage"}


def placed(text: str, home: Path, ports: dict[str, int]) -> str:
    """A file or command of a container, for processes of one machine."""
    text = text.replace(HOME, str(home)).replace("0.0.0.0", "127.0.0.1").replace("host: code", "host: 127.0.0.1")
    return re.sub(r"\b(4000|3000)\b", lambda match: str(ports[match[1]]), text)


def test_services_run_by_their_commands_and_embed(
    compose: dict, settings: Settings, database: Database, beside: psycopg.Connection, tmp_path: Path
):
    """Health checks included. The code server gets SIGTERM in the middle, as by `docker compose stop`."""
    home, ports = tmp_path / "home", {"4000": free_port(), "3000": free_port()}
    home.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        (home / name).write_text(placed((DEPLOY / name).read_text("utf-8"), home, ports))
    assert settings.database.url
    environment = {
        **os.environ,
        **read_settings(),
        "EMBEDDING_DATABASE_URL": settings.database.url.get_secret_value(),
        "DAGSTER_HOME": str(home),
        # Not in one commit batch.
        "EMBEDDING_COMMIT_SECONDS": "0.2",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    insert_chunks(database, texts(CHUNKS))

    def command(service: str) -> list[str]:
        return [placed(word, home, ports) for word in compose["services"][service]["command"]]

    def start(service: str):
        with (tmp_path / f"{service}.log").open("ab") as log:
            return processes.start(
                command(service),
                env=environment,
                cwd=home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_healthy(service: str) -> bool:
        _, *check = [placed(word, home, ports) for word in compose["services"][service]["healthcheck"]["test"]]
        return subprocess.run(check, env=environment, cwd=home, capture_output=True, check=False).returncode == 0

    def embedded() -> int:
        return beside.execute("SELECT count(embedding) FROM knowledge_base").fetchone()[0]

    def locks() -> int:
        query = """
            SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
        return beside.execute(query).fetchone()[0]

    assert not is_healthy("code")
    code = start("code")
    wait_until(lambda: is_healthy("code"), "the code server")
    daemon, webserver = start("daemon"), start("webserver")
    found = wait_for_definitions(ports["3000"], webserver)
    assert len(found["assetNodes"]) == 4
    assert is_healthy("webserver")
    assert is_healthy("daemon")

    # The sensor has asked for a run by itself.
    wait_until(embedded, "the first vectors")
    # The engine signals a container's first process, and kills the others once that has ended or its time is over.
    code.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        code.wait(0.5)
    with suppress(ProcessLookupError):
        os.killpg(code.pid, signal.SIGKILL)
    wait_until(lambda: not locks(), "the end of the run's sessions")
    kept = embedded()
    assert 0 < kept < CHUNKS
    with DagsterInstance.from_config(str(home)) as instance:
        assert isinstance(instance.run_launcher, DefaultRunLauncher)
        assert instance.get_ref().storage_data.class_name == EmbeddingAssetsStorage.__name__
        [run] = instance.get_runs()
        assert run.tags["dagster/asset_partition_range_end"] == "f"
    for process in (daemon, webserver):
        process.send_signal(signal.SIGTERM)
    assert embed_pending(settings).stats.embedded == CHUNKS - kept
    assert [process.wait(180) for process in (daemon, webserver)] == [0, 0]
