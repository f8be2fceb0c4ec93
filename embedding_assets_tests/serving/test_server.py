"""The command in a process of its own, with a model: started, stopped, its database lost and back."""

import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import httpx2
import psycopg
import pytest

from embedding_assets import embed_pending
from embedding_assets.config import Settings, get_settings
from embedding_assets.postgres.bootstrap import open_database
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.servers import Holder, make_folder, server_pid
from embedding_assets_tests.support.serving import KEY, start, wait_for

TEXTS = [
    "The office closes at half past five on Fridays.",
    "Invoices are paid within thirty days.",
    "Cats sleep a lot.",
]
QUESTION = {"q": "When does the office shut before the weekend?", "k": 1}


@pytest.fixture
def embedded(settings: Settings, database: Database) -> None:
    insert_chunks(database, TEXTS)
    embed_pending(settings, database=database)


def best(client: httpx2.Client) -> str:
    response = client.get("/search", params=QUESTION)
    assert response.status_code == 200, response.text
    return response.json()["results"][0]["text"]


@pytest.mark.covered_processes
@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_answers_and_stops(tmp_path: Path, how: signal.Signals, status: int):
    service = start(tmp_path / "log")
    with service.client() as client:
        wait_for(client)
        assert best(client) == TEXTS[0]
        # Kept open: it must not keep the service from ending.
        assert service.stop(how) == status
    log = service.log.read_text("utf-8")
    assert f"Serving on {service.address} " in log
    assert log.endswith("Stopped.\n")
    assert "Traceback" not in log
    assert TEXTS[0] not in log
    assert QUESTION["q"] not in log


@pytest.mark.usefixtures("embedded")
def test_what_is_under_way_when_it_stops_has_an_answer(tmp_path: Path, beside: psycopg.Connection):
    service = start(tmp_path / "log")
    responses = []
    with service.client() as client:
        wait_for(client)
        with beside.transaction():
            beside.execute("LOCK TABLE knowledge_base IN ACCESS EXCLUSIVE MODE")
            asking = threading.Thread(target=lambda: responses.append(client.get("/search", params=QUESTION)))
            asking.start()
            time.sleep(1)
            started = time.monotonic()
            assert service.stop(signal.SIGTERM) == 143
            asking.join()
        assert time.monotonic() - started < 60
    [response] = responses
    assert (response.status_code, response.json()["detail"]) == (503, "the service is stopping")
    assert "Traceback" not in service.log.read_text("utf-8")


def test_a_database_that_is_lost_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = make_folder()
    holder = Holder(folder)
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", holder.url())
    with open_database(get_settings()) as database:
        insert_chunks(database, TEXTS)
        embed_pending(get_settings(), database=database)
    service = start(tmp_path / "log")
    with service.client() as client:
        wait_for(client)
        assert best(client) == TEXTS[0]
        pid = server_pid(folder)
        assert pid
        os.kill(pid, signal.SIGQUIT)
        holder.end(signal.SIGKILL)
        started = time.monotonic()
        lost = client.get("/search", params=QUESTION)
        assert (lost.status_code, lost.json()["detail"]) == (503, "the database cannot be reached")
        assert lost.headers["retry-after"]
        assert time.monotonic() - started < 60
        health = client.get("/healthz")
        assert (health.status_code, health.json()["state"]) == (503, "no database")
        assert client.get("/healthz/live").status_code == 200
        again = Holder(folder)
        try:
            again.url()
            wait_for(client)
            assert best(client) == TEXTS[0]
        finally:
            again.end()
        assert service.stop(signal.SIGTERM) == 143
    assert "Traceback" not in service.log.read_text("utf-8")


def test_the_database_is_not_there_yet(tmp_path: Path):
    environment = {"EMBEDDING_DATABASE_URL": "postgresql://reader:a-password@127.0.0.1:1/none",
                   "EMBEDDING_DATABASE_RETRY_SECONDS": "0.2"}  # fmt: skip
    service = start(tmp_path / "log", **environment)
    with service.client() as client:
        deadline = time.monotonic() + 180
        while client.get("/healthz").json()["state"] != "no database":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        refused = client.get("/search", params=QUESTION)
        assert refused.status_code == 503
        assert "embedding_assets_up 0.0" in client.get("/metrics").text
        assert service.stop(signal.SIGTERM) == 143
    log = service.log.read_text("utf-8")
    assert "not ready, and trying again" in log
    assert "a-password" not in log
    assert "Traceback" not in log


@pytest.mark.usefixtures("embedded")
def test_a_unix_socket(tmp_path: Path):
    path = tmp_path / "s"
    service = start(tmp_path / "log", "--socket", str(path))
    assert service.address == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://any.name", timeout=90) as client:
        wait_for(client)
        assert best(client) == TEXTS[0]
    assert service.stop(signal.SIGKILL) == -9
    # What is left of it does not keep the next from starting.
    again = start(tmp_path / "log", "--socket", str(path))
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://any.name", timeout=90) as client:
        wait_for(client)
    assert again.stop(signal.SIGTERM) == 143
    assert not path.exists()


def test_another_address_with_a_key(settings: Settings, tmp_path: Path):
    service = start(tmp_path / "log", "--host", "0.0.0.0", EMBEDDING_SERVE_KEY=KEY)
    port = service.address.rpartition(":")[2]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=90, trust_env=False) as client:
        wait_for(client, ready=False)
        assert client.get("/search", params=QUESTION).status_code == 401
        right = {"authorization": f"Bearer {KEY}", "host": "any.name"}
        assert client.get("/search", params=QUESTION, headers=right).status_code == 503  # there is nothing yet
    assert service.stop(signal.SIGTERM) == 143
    assert KEY not in service.log.read_text("utf-8")


def test_a_port_that_is_taken(run, settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, err = run("serve", "--port", port)
    assert code == 2
    assert f"port {port} is taken on 127.0.0.1; choose another with --port" in re.sub(r"\s+", " ", err)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_another_address_without_a_key(run, settings: Settings, host: str):
    code, _, err = run("serve", "--host", host, "--port", 0)
    assert code == 2
    assert "set EMBEDDING_SERVE_KEY" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "no.such.name.invalid"], "neither an address nor a name"),
        (["--host", ""], "--host"),
        (["--socket", "/nowhere/at/all/s"], "cannot listen at /nowhere/at/all/s"),
        (["--socket", "/dev/null"], "/dev/null is there already and is no socket"),
        (["--stdio", "--socket", "/tmp/s"], "exclude each other"),
    ],
)
def test_places_that_cannot_be_listened_at(run, settings: Settings, options: list[str], words: str):
    code, _, err = run("serve", *options)
    assert code == 2
    assert words in re.sub(r"\s+", " ", err)


def test_a_socket_that_is_in_use(run, settings: Settings, tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        other.listen()
        code, _, err = run("serve", "--socket", tmp_path / "s")
    assert code == 2
    assert "something else listens" in err


def test_without_the_extra(run, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    from embedding_assets.cli import serve

    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "mcp" else object())
    code, _, err = run("serve")
    assert code == 2
    assert "pip install 'embedding-assets[serve]'" in err
    assert "(mcp)" in err


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("EMBEDDING_SERVE_KEY", "short-secret", "shorter than 16 characters"),
        ("EMBEDDING_SERVE_KEY", "a secret with spaces in it", "a header cannot hold"),
        ("EMBEDDING_SERVE_HOSTS", "https://search.example.org", "without scheme and port"),
        ("EMBEDDING_SERVE_CONCURRENCY", "0", "EMBEDDING_SERVE_CONCURRENCY"),
        ("EMBEDDING_SERVE_TIMEOUT_SECONDS", "0", "EMBEDDING_SERVE_TIMEOUT_SECONDS"),
    ],
)
def test_settings_that_are_wrong(run, settings: Settings, monkeypatch: pytest.MonkeyPatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    code, _, err = run("serve", "--port", 0)
    assert code == 2
    assert words in re.sub(r"\s+", " ", err)
    assert "secret" not in err


def test_nothing_of_it_is_imported_by_other_commands():
    code = (
        "import sys, embedding_assets.cli.app; "
        "print(*sorted({'mcp', 'starlette', 'uvicorn', 'prometheus_client'} & set(sys.modules)))"
    )
    import sys

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "\n"
