"""The password of new connections, where it is not a part of the URL: printed by a command, or read from a file."""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from embedding_assets.config import DatabaseConfig
from embedding_assets.errors import ConfigurationError

_KEPT_SECONDS: Final = 300.0
"""Time for which a command's password is used again; tokens of managed servers are valid for 15 minutes or more."""

_COMMAND_SECONDS: Final = 60.0

_COMMAND: Final = "EMBEDDING_DATABASE_PASSWORD_COMMAND"
_FILE: Final = "EMBEDDING_DATABASE_PASSWORD_FILE"


class PasswordSource:
    """A command or a file as the settings name it; neither of them: the password is the URL's.

    May be asked by several threads at once.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._command = config.password_command
        self._file = config.password_file
        self._lock = threading.Lock()
        self._kept: str | None = None
        self._kept_at = 0.0

    @property
    def is_set(self) -> bool:
        """True if there is a command or a file."""
        return self._command is not None or self._file is not None

    def read(self, *, refused: str | None = None) -> str | None:
        """The password for a new connection; None: that of the URL, or none.

        Args:
            refused: a password that the server has just refused; a command is run again unless that was done since.

        Raises:
            ConfigurationError: the command failed or printed nothing, or the file cannot be read; the message has none
                of their contents.
        """
        if self._file is not None:
            return _read_file(self._file)
        if self._command is None:
            return None
        with self._lock:
            is_old = time.monotonic() - self._kept_at > _KEPT_SECONDS
            if self._kept is None or is_old or self._kept == refused:
                self._kept = _run_command(self._command.get_secret_value())
                self._kept_at = time.monotonic()
            return self._kept


def _read_file(path: Path) -> str:
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{_FILE}: {path} cannot be read ({error.strerror or type(error).__name__})") from None
    return _password_in(content, _FILE)


def _run_command(command: str) -> str:
    try:
        # No shell; what it says on standard error may hold a secret, too.
        result = subprocess.run(  # noqa: S603
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{_COMMAND} did not end within {_COMMAND_SECONDS:g} s") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{_COMMAND} cannot be run ({reason}); it is run without a shell") from None
    if result.returncode != 0:
        raise ConfigurationError(f"{_COMMAND} ended with exit status {result.returncode}; run it by hand to see why")
    return _password_in(result.stdout, _COMMAND)


def _password_in(content: bytes, setting: str) -> str:
    try:
        password = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{setting}: what it holds is not UTF-8") from None
    if not password or "\0" in password or "\n" in password:
        raise ConfigurationError(f"{setting}: it must hold the password on one line, and nothing else")
    return password
