import logging
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import psycopg
import pytest

from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres.server import postmaster
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets_tests.support.servers import ask, server_pid


def test_a_server_that_died_is_started_again(folder):
    url = start_embedded_server(folder)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(server_pid(folder), signal.SIGKILL)
    while server_pid(folder):
        time.sleep(0.01)

    deadline = time.monotonic() + 180
    while True:  # for a moment its backends may hold on to the shared memory
        try:
            url = start_embedded_server(folder)
            break
        except DatabaseUnavailableError:
            assert time.monotonic() < deadline
    assert ask(url, "SELECT number FROM kept") == 7


def test_leftovers_naming_a_living_process_are_not_believed(folder):
    start_embedded_server(folder)
    pid_file = folder / "postgres" / "postmaster.pid"
    text = pid_file.read_text()
    stop_embedded_server(folder)
    foreign = str(os.getpid())
    pid_file.write_text("\n".join([foreign, *text.splitlines()[1:]]) + "\n")
    (folder / "postgres" / ".s.PGSQL.5432.lock").write_text(f"{foreign}\n")

    assert ask(start_embedded_server(folder), "SELECT 1") == 1
    assert pid_file.read_text().splitlines()[0] != foreign


def test_a_server_whose_pid_means_nothing_here_but_answers_is_used_and_left_alone(folder):
    url = start_embedded_server(folder)
    pid_file = folder / "postgres" / "postmaster.pid"
    text = pid_file.read_text()
    lines = text.splitlines()
    pid_file.write_text("\n".join(["2147483647", *lines[1:]]) + "\n")

    assert start_embedded_server(folder) == url
    postmaster.stop(folder / "postgres")
    assert ask(url, "SELECT 1") == 1

    pid_file.write_text(text)


def test_a_damaged_pid_file_is_replaced(folder):
    start_embedded_server(folder)

    for text in ("", "nonsense\n", "2147483647\n", "2147483647\n/x\n1\n5432\n\n"):
        stop_embedded_server(folder)
        (folder / "postgres" / "postmaster.pid").write_text(text)
        assert ask(start_embedded_server(folder), "SELECT 1") == 1


def test_socket_folder_elsewhere_is_private_and_not_shared(empty, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    monkeypatch.setattr(postmaster, "_LONGEST_SOCKET_PATH", 60)
    deep = empty / ("y" * 60)
    start_embedded_server(deep)
    (elsewhere,) = empty.glob("embedding-assets-*")
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    stop_embedded_server(deep)

    shutil.rmtree(elsewhere)
    target = empty / "target"
    target.mkdir(mode=0o755)
    elsewhere.symlink_to(target)
    with pytest.raises(ConfigurationError, match="EMBEDDING_DATA_DIR"):
        start_embedded_server(deep)
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_an_interrupted_initialization_is_repeated(empty):
    (empty / "postgres.new").mkdir()
    (empty / "postgres.new" / "PG_VERSION").write_text("18\n")
    (empty / "postgres").mkdir()

    assert ask(start_embedded_server(empty), "SELECT 1") == 1
    assert not (empty / "postgres.new").exists()


@pytest.mark.parametrize("name", ["PG_VERSION", "thesis.txt"])
def test_a_folder_with_something_else_is_left_alone(empty, name):
    (empty / "postgres").mkdir()
    (empty / "postgres" / name).write_text("16\n")

    with pytest.raises(ConfigurationError, match="EMBEDDING_DATA_DIR"):
        start_embedded_server(empty)

    assert [path.name for path in (empty / "postgres").iterdir()] == [name]


def test_a_folder_that_cannot_be_made_is_a_matter_of_configuration(folder):
    (folder / "file").touch()

    with pytest.raises(ConfigurationError, match=r"EMBEDDING_DATA_DIR.*Not a directory"):
        start_embedded_server(folder / "file" / "data")


def test_a_server_that_does_not_start_says_why(folder):
    start_embedded_server(folder)
    stop_embedded_server(folder)
    with (folder / "postgres" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")

    with pytest.raises(DatabaseUnavailableError, match=r"FATAL: .*errors.* its log is .*server\.log"):
        start_embedded_server(folder)


def test_a_server_that_cannot_be_set_up_says_why(empty, monkeypatch):
    result = subprocess.CompletedProcess([], 1, b"", b"initdb: error: no space left\n")
    monkeypatch.setattr(postmaster, "_run", lambda *_: result)

    with pytest.raises(DatabaseUnavailableError, match="no space left"):
        start_embedded_server(empty)


def test_a_start_without_any_log_says_so(folder, monkeypatch):
    start_embedded_server(folder)
    stop_embedded_server(folder)
    (folder / "postgres" / "server.log").unlink()
    monkeypatch.setattr(postmaster, "_run", lambda *_: subprocess.CompletedProcess([], 1, b"", b""))

    with pytest.raises(DatabaseUnavailableError, match="did not start; its log"):
        start_embedded_server(folder)


def test_a_server_that_stays_starting_is_not_waited_for_forever(folder, monkeypatch):
    monkeypatch.setattr(postmaster, "_START_SECONDS", 0.2)
    monkeypatch.setattr(postmaster, "_find", lambda _: postmaster._PidFile(1, None, "starting"))

    with pytest.raises(DatabaseUnavailableError, match="still starting"):
        start_embedded_server(folder)


def test_a_server_that_does_not_end_is_reported(folder, monkeypatch, caplog):
    start_embedded_server(folder)
    monkeypatch.setattr(postmaster, "_STOP_SECONDS", 0)
    monkeypatch.setattr(os, "kill", lambda *_: None)

    with caplog.at_level(logging.WARNING):
        stop_embedded_server(folder)

    assert "not stopped" in caplog.text
    monkeypatch.undo()
    postmaster.stop(folder / "postgres")


def test_no_content_of_a_row_reaches_its_log(folder):
    marker = "ZQXMARKER"
    with psycopg.connect(start_embedded_server(folder), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (body text CHECK (length(body) < 5), n integer, UNIQUE (n))")
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no %', NEW.body; END $$"
        )
        for statement, parameters in (
            (f"INSERT INTO t VALUES ('{marker}', 1)", None),
            ("INSERT INTO t VALUES (%s, 1)", [marker]),
            (f"SELECT '{marker}'::integer", None),
            ("SELECT %s::text::integer", [marker]),
            (f"SELEKT '{marker}'", None),
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, parameters)
        with pytest.raises(psycopg.Error), connection.cursor().copy("COPY t FROM STDIN") as copy:
            copy.write(f"{marker}\t1\n")
        connection.execute("CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()")
        with pytest.raises(psycopg.errors.RaiseException, match=marker):
            connection.execute("INSERT INTO t VALUES (%s, 2)", [marker])
    log = (folder / "postgres" / "server.log").read_text()
    assert "ready to accept connections" in log
    assert marker not in log
