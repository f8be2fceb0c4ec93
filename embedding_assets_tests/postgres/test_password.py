"""Passwords from a command or a file: fresh where they must be, and never shown."""

import shlex
import sys

import pytest

from embedding_assets.config import DatabaseConfig
from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres import password as password_module
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.password import PasswordSource
from embedding_assets_tests.support.wire import proxy

URL = "postgresql://h/d"


def command_of(script: str, *arguments: object) -> str:
    return shlex.join([sys.executable, "-c", script, *map(str, arguments)])


def source_of(command: str) -> PasswordSource:
    return PasswordSource(DatabaseConfig(url=URL, password_command=command))


@pytest.fixture
def counted(tmp_path):
    """A command that prints ``word-N``, N being how often it was run."""
    script = (
        "import pathlib, sys; path = pathlib.Path(sys.argv[1]); path.open('a').write('x'); "
        "print('word-%d' % len(path.read_text()))"
    )
    return command_of(script, tmp_path / "runs")


def test_a_command_is_run_again_when_its_word_is_old_or_was_refused(counted, monkeypatch):
    source = source_of(counted)
    assert [source.read(), source.read()] == ["word-1", "word-1"]
    assert source.read(refused="word-1") == "word-2"
    assert source.read(refused="word-1") == "word-2"  # another thread's refusal of the old one
    monkeypatch.setattr(password_module, "_KEPT_SECONDS", -1.0)
    assert source.read() == "word-3"


def test_no_shell_is_involved(tmp_path):
    assert source_of("echo 'a b' $HOME; echo x").read() == "a b $HOME; echo x"


def test_a_file_is_read_each_time(tmp_path):
    path = tmp_path / "password"
    source = PasswordSource(DatabaseConfig(url=URL, password_file=path))
    for word in ("one", "two \u00fc "):
        path.write_text(f"{word}\n", "utf-8")
        assert source.read() == word


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)", "exit status 3"),
        ("pass", "on one line"),
        ("print('hunter2'); print('hunter2')", "on one line"),
        ("import sys; sys.stdout.buffer.write(b'hunter2\\xff')", "not UTF-8"),
    ],
)
def test_a_command_that_fails_shows_nothing_of_it(script, words):
    with pytest.raises(ConfigurationError, match=f"EMBEDDING_DATABASE_PASSWORD_COMMAND.*{words}") as caught:
        source_of(command_of(script)).read()
    assert "hunter2" not in f"{caught.value}{caught.value.__context__ if not caught.value.__suppress_context__ else ''}"


def test_a_command_that_is_not_there_or_hangs_is_one_line(monkeypatch):
    with pytest.raises(ConfigurationError, match=r"cannot be run .*without a shell"):
        source_of("/no/such/program hunter2").read()
    monkeypatch.setattr(password_module, "_COMMAND_SECONDS", 0.2)
    with pytest.raises(ConfigurationError, match=r"did not end within 0.2 s"):
        source_of(command_of("import time; time.sleep(30)")).read()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"PASSWORD_FILE.*No such file"):
        PasswordSource(DatabaseConfig(url=URL, password_file=tmp_path / "none")).read()


def test_a_refused_login_is_tried_once_more_with_a_new_password(database_url, counted):
    refusal = ("28P01", 'password authentication failed for user "someone"')
    config = DatabaseConfig(url=URL, password_command=counted, retry_seconds=5)
    with proxy(database_url, refusals=[refusal]) as url, Database(url, config) as database:
        with database.session() as connection:
            assert connection.info.password == "word-2"
        # The pool's connections have it as well.
        assert database.run(lambda c: c.info.password) == "word-2"
        assert "word" not in f"{database!r} {database.address}"
    with proxy(database_url, refusals=[refusal] * 2) as url, Database(url, config) as database:
        with pytest.raises(DatabaseUnavailableError, match="refused the login") as caught:
            database.connect()
        assert "word-" not in str(caught.value)
