import os
import pwd
import shutil
import stat

import psutil
import pytest

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.server import postmaster, system_user
from embedding_assets.postgres.server.embedded import start_embedded_server, stop_embedded_server
from embedding_assets_tests.support.servers import ask, server_pid

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


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
def test_root_without_a_user_for_the_server_is_shown_what_to_do(empty, monkeypatch, program):
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
