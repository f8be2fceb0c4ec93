import shutil
import signal
import stat
import threading

import psycopg
import pytest

from embedding_assets.postgres.server import embedded, postmaster
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets_tests.support.servers import Holder, ask, server_pid


def test_starts_once_and_has_pgvector(empty):
    url = start_embedded_server(empty)
    pid = server_pid(empty)

    assert start_embedded_server(empty) == url
    assert start_embedded_server(empty / "x" / "..") == url
    assert server_pid(empty) == pid
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION vector")
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,4]'").fetchone() == (2.0,)
    assert ask(url, "SHOW fsync") == "on"
    assert ask(url, "SELECT lower('Ä')") == "ä"

    stop_embedded_server(empty)
    stop_embedded_server(empty)
    assert server_pid(empty) is None


def test_is_reachable_by_its_user_only(folder):
    url = start_embedded_server(folder)

    assert ask(url, "SHOW listen_addresses") == ""
    assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "postgres" / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_threads_share_one_server(folder):
    urls = []
    threads = [threading.Thread(target=lambda: urls.append(start_embedded_server(folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(urls) == 4
    assert len(set(urls)) == 1


def test_three_processes_start_at_once_and_the_last_one_stops(empty):
    holders = [Holder(empty / "new") for _ in range(3)]
    (url,) = {holder.url() for holder in holders}

    for holder in holders[:2]:
        holder.end()
        assert ask(url, "SELECT 1") == 1
    holders[2].end()

    assert server_pid(empty / "new") is None
    assert not (empty / "new" / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_does_not_keep_the_server(folder, how):
    killed, other = Holder(folder), Holder(folder)
    url = killed.url()
    assert other.url() == url

    killed.end(how)
    assert ask(url, "SELECT 1") == 1
    other.end()

    assert server_pid(folder) is None


def test_leaving_while_others_stay_keeps_the_server(folder):
    url = start_embedded_server(folder)
    other = Holder(folder)
    assert other.url() == url

    stop_embedded_server(folder)
    assert ask(url, "SELECT 1") == 1
    other.end()

    assert server_pid(folder) is None


def test_the_end_of_the_process_stops_everything(empty, monkeypatch):
    monkeypatch.setattr(embedded, "_uses", {})  # not the server that the other tests of this session use
    for name in "ab":
        start_embedded_server(empty / name)

    embedded._stop_all()

    assert not list(empty.rglob("postmaster.pid"))


def test_a_folder_that_vanished_is_no_failure_at_the_end(empty, caplog):
    start_embedded_server(empty / "gone")
    postmaster.stop(empty / "gone" / "postgres")
    shutil.rmtree(empty / "gone")

    stop_embedded_server(empty / "gone")

    assert "not stopped" in caplog.text


def test_an_orphaned_server_is_taken_over(folder):
    holder = Holder(folder)
    url = holder.url()
    holder.end(signal.SIGKILL)
    orphan = server_pid(folder)
    assert orphan

    assert start_embedded_server(folder) == url
    assert server_pid(folder) == orphan
    stop_embedded_server(folder)

    assert server_pid(folder) is None


def test_two_folders_have_two_servers(empty):
    first, second = (start_embedded_server(empty / name) for name in "ab")

    assert first != second
    assert ask(first, "SHOW data_directory") != ask(second, "SHOW data_directory")
    stop_embedded_server(empty / "a")
    assert ask(second, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["5% quo'te$HOME`\"-ü", "a,b", "x" * 100])
def test_any_path_will_do(empty, name):
    url = start_embedded_server(empty / name)

    assert ask(url, "SELECT 1") == 1
    stop_embedded_server(empty / name)
    assert ask(start_embedded_server(empty / name), "SHOW data_directory") == str(empty / name / "postgres")


def test_settings_for_other_servers_are_ignored(folder, monkeypatch):
    for name, value in {"PGPORT": "6543", "PGDATA": "/nowhere", "PGHOST": "nowhere", "LC_ALL": "xx_XX"}.items():
        monkeypatch.setenv(name, value)

    assert ask(start_embedded_server(folder), "SHOW port") == "5432"
