"""Dagster's own commands in real processes."""

import os
import signal
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from embedding_assets.cli.dagster import dagster_environment, start_materialization, table_setting, ui_command
from embedding_assets.config import TableConfig
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.dagster_ui import wait_for_definitions
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.shop import BIGINT, adopt_shop, fill

CHECKOUT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def test_the_home_folder_is_written_again_and_a_chosen_one_is_kept(settings, tmp_path, monkeypatch):
    settings = settings.model_copy(update={"data_dir": tmp_path})
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("old")

    assert dagster_environment(settings)["DAGSTER_HOME"] == str(tmp_path / "dagster")
    shipped = files("embedding_assets.defs").joinpath("dagster.yaml").read_text()
    assert (tmp_path / "dagster" / "dagster.yaml").read_text() == shipped

    monkeypatch.setenv("DAGSTER_HOME", "/chosen")
    assert dagster_environment(settings)["DAGSTER_HOME"] == "/chosen"


def test_the_environment_is_made_without_dagster(tmp_path):
    """Importing the definitions would let the log lines of a run into the command line's output."""
    program = (
        "import sys; from embedding_assets.config import get_settings; "
        "from embedding_assets.cli.dagster import dagster_environment; dagster_environment(get_settings()); "
        "print([name for name in sys.modules if name in ('dagster', 'embedding_assets.defs')])"
    )
    environment = {**os.environ, "EMBEDDING_DATA_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(("length", "expected"), [(1, "0...f"), (2, "00...ff")])
def test_the_run_covers_all_partitions(settings, tmp_path, monkeypatch, length, expected):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    settings = settings.with_embedding(prefix_length=length).model_copy(update={"data_dir": tmp_path})

    start_materialization(settings, sys.stdout.buffer)

    assert expected in started[0]


def test_the_ui_is_about_the_table_that_commands_find(settings, beside):
    assert table_setting(settings) == {}
    fill(beside, BIGINT, 1)
    adopt_shop(settings, BIGINT)
    assert table_setting(settings) == {"EMBEDDING_TABLE": "public.notes"}
    named = settings.model_copy(update={"source": TableConfig(relation="knowledge_base")})
    assert table_setting(named) == {}
    away = settings.database.model_copy(update={"url": SecretStr("postgresql://127.0.0.1:1/d")})
    assert table_setting(settings.model_copy(update={"database": away})) == {}


def test_materialize_and_launch_at_once_in_a_checkout(settings, database, tmp_path):
    """Both commands of the README, with nothing set but the database: both end well, each chunk is embedded once."""
    select_for_run(settings, database)
    insert_chunks(database, [f"text {n}" for n in range(60)])
    environment = {**os.environ, "VIRTUAL_ENV": str(BIN.parent), "EMBEDDING_DATA_DIR": str(tmp_path / "data")}
    commands = [
        [BIN / "dagster", "asset", "materialize", "--select", "*", "--partition-range", "0...f",
         "-m", "embedding_assets.definitions"],
        [BIN / "dg", "launch", "--assets", "*", "--partition-range", "0...f"],
    ]  # fmt: skip

    started = [
        processes.start(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    # No time of its own: two cores that are busy with other things take minutes, and the test has its limit.
    outputs = [process.communicate()[0] for process in started]

    assert [process.returncode for process in started] == [0, 0], outputs
    counts = database.run(
        lambda c: c.execute(
            "SELECT count(embedding), (SELECT sum(embedded) FROM embedding_runs) FROM knowledge_base"
        ).fetchone()
    )
    assert counts == (60, 60)
    assert "RUN_SUCCESS" in outputs[0], "the event output is silenced"
    assert "Warning" not in outputs[1]
    assert not (tmp_path / "data" / "postgres").exists(), "an embedded server was started"


def test_the_ui_serves_the_state_and_stops_with_all_its_children(settings, database, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = settings.model_copy(update={"data_dir": tmp_path})
    log = tmp_path / "ui.log"
    with log.open("w") as stream:
        process = processes.start(
            ui_command("127.0.0.1", port),
            env=dagster_environment(settings),
            cwd=tmp_path,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = wait_for_definitions(port, process)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(180)

    assert {node["assetKey"]["path"][0] for node in found["assetNodes"]} == {
        "knowledge_base",
        "chunks_pending",
        "chunk_embeddings",
        "pgvector_index_health",
    }
    states = {item["name"]: item["sensorState"]["status"] for item in found["sensorsOrError"]["results"]}
    states |= {item["name"]: item["scheduleState"]["status"] for item in found["schedulesOrError"]["results"]}
    sensors = ("new_chunks_sensor", "index_health_sensor", "failed_runs_sensor", "failed_checks_sensor")
    assert states == dict.fromkeys([*sensors, "nightly_schedule", "purge_schedule"], "RUNNING")
    _, alive = psutil.wait_procs(children, timeout=60)
    assert (process.returncode, alive) == (0, [])
    assert "Warning" not in log.read_text()
