import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres import embedded, postmaster, system_user
from embedding_assets.postgres.embedded import start_embedded_server, stop_embedded_server

HOLDER = """
import sys
from pathlib import Path
from embedding_assets.postgres.embedded import start_embedded_server
print(start_embedded_server(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def make_folder():
    """A short path, because sockets need one, that the server's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="ea", dir="/tmp"))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def template():
    path = make_folder()
    start_embedded_server(path)
    stop_embedded_server(path)
    yield path / "postgres"
    shutil.rmtree(path)


@pytest.fixture
def empty():
    path = make_folder()
    yield path
    for pid_file in path.rglob("postmaster.pid"):
        stop_embedded_server(pid_file.parent.parent)
        postmaster.stop(pid_file.parent)
    shutil.rmtree(path)


@pytest.fixture
def folder(empty, template):
    """With a data folder that is made already, to save the second that it takes."""
    subprocess.run(["cp", "-a", template, empty], check=True)
    return empty


class Holder:
    """Another process that uses the server of a folder."""

    def __init__(self, data_dir, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def url(self):
        return self.process.stdout.readline().strip()

    def end(self, how=None):
        if how is not None:
            self.process.send_signal(how)
        self.process.communicate(timeout=60)


def ask(url, query):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]


def server_pid(data_dir):
    found = postmaster._find(data_dir / "postgres")
    return found.pid if found else None


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


def test_a_server_that_died_is_started_again(folder):
    url = start_embedded_server(folder)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(server_pid(folder), signal.SIGKILL)
    while server_pid(folder):
        time.sleep(0.01)

    deadline = time.monotonic() + 30
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


def test_settings_for_other_servers_are_ignored(folder, monkeypatch):
    for name, value in {"PGPORT": "6543", "PGDATA": "/nowhere", "PGHOST": "nowhere", "LC_ALL": "xx_XX"}.items():
        monkeypatch.setenv(name, value)

    assert ask(start_embedded_server(folder), "SHOW port") == "5432"


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


def test_private_parents_are_refused_to_root(empty):
    user = system_user.SystemUser("somebody", 12345, 12345)
    (empty / "home").mkdir(mode=0o700)

    with pytest.raises(ConfigurationError, match="EMBEDDING_DATA_DIR=/var/lib/embedding_assets"):
        user.require_access(empty / "home" / "data")

    (empty / "home").chmod(0o711)
    user.require_access(empty / "home" / "data")


@root_only
def test_root_does_not_open_a_private_home(empty):
    home = empty / "home"
    home.mkdir(mode=0o700)

    with pytest.raises(ConfigurationError, match="EMBEDDING_DATA_DIR"):
        start_embedded_server(home / "data")

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert not (home / "data").exists()


@root_only
def test_root_makes_folders_the_server_can_enter_whatever_the_umask(empty):
    before = os.umask(0o077)
    try:
        url = start_embedded_server(empty / "a" / "b")
    finally:
        os.umask(before)

    assert ask(url, "SELECT 1") == 1
    assert psutil.Process(server_pid(empty / "a" / "b")).uids().effective != 0
    assert psutil.Process(server_pid(empty / "a" / "b")).gids().effective != 0


@root_only
def test_root_copies_programs_that_lie_in_a_private_folder(empty, monkeypatch):
    monkeypatch.setattr(system_user.SystemUser, "may_enter", lambda *_: False)

    url = start_embedded_server(empty)

    assert ask(url, "SELECT 1") == 1
    assert psutil.Process(server_pid(empty)).cmdline()[0].startswith(str(empty))


@root_only
def test_root_runs_an_existing_server_as_its_owner(empty):
    (empty / "postgres").mkdir()
    os.chown(empty / "postgres", 65534, 65534)

    assert system_user.server_user(empty / "postgres").uid == 65534


@root_only
@pytest.mark.parametrize("program", ["/bin/false", None])
def test_root_without_a_user_for_the_server_is_told_what_to_do(empty, monkeypatch, program):
    monkeypatch.setattr(system_user, "_NAME", "no-such-user")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: program)

    with pytest.raises(ConfigurationError, match="EMBEDDING_DATABASE_URL"):
        start_embedded_server(empty)


@root_only
def test_root_makes_the_user_when_it_is_missing(empty, monkeypatch):
    known = iter([None, pwd.getpwuid(65534)])

    def lookup(name):
        entry = next(known)
        if entry is None:
            raise KeyError(name)
        return entry

    monkeypatch.setattr(pwd, "getpwnam", lookup)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/true")

    assert system_user.server_user(empty / "postgres").uid == 65534


@root_only
def test_ordinary_users_run_it_themselves(empty):
    data_dir = empty / "theirs"
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, 65534, 65534)
    programs = postmaster._programs(empty, None)
    if not system_user.SystemUser("nobody", 65534, 65534).may_enter(programs):
        pytest.skip("the programs lie in a private folder")

    child = os.fork()  # not a new interpreter: that may lie in a private folder too
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            url = start_embedded_server(data_dir)
            owner = psutil.Process(server_pid(data_dir)).uids().effective
            fine = ask(url, "SELECT 1") == 1 and owner == 65534
            stop_embedded_server(data_dir)
            os._exit(0 if fine and server_pid(data_dir) is None else 2)
        finally:
            os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
