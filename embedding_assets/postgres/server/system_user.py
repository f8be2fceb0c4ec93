"""Running PostgreSQL, which refuses to be root, from a process that is root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedding_assets.errors import ConfigurationError

_NAME: Final = "pgserver"


@dataclass(frozen=True)
class SystemUser:
    """Whom the server runs as."""

    name: str
    uid: int
    gid: int

    def may_enter(self, path: Path) -> bool:
        """True if this user may enter ``path`` and all its parents, as far as they exist."""
        return all(self._may_enter_one(folder) for folder in (path, *path.parents) if folder.is_dir())

    def require_access(self, data_dir: Path) -> None:
        """Refuse a folder that this user cannot reach, rather than open up somebody's home.

        Raises:
            ConfigurationError: a parent is private.
        """
        for folder in reversed((data_dir, *data_dir.parents)):
            if folder.is_dir() and not self._may_enter_one(folder):
                raise ConfigurationError(
                    f"EMBEDDING_DATA_DIR: {data_dir} lies in {folder}, which other users may not enter; as root, "
                    f"PostgreSQL runs as the user {self.name!r} and needs a folder it can reach, "
                    "such as EMBEDDING_DATA_DIR=/var/lib/embedding_assets"
                )

    def _may_enter_one(self, folder: Path) -> bool:
        status = folder.stat()
        return bool(status.st_mode & (stat.S_IXUSR if status.st_uid == self.uid else stat.S_IXOTH))


def server_user(cluster: Path) -> SystemUser | None:
    """Whom to run the server of ``cluster`` as: for root its owner, or a system user made for this; else ourselves.

    Raises:
        ConfigurationError: there is no such user and none can be made.
    """
    if os.geteuid() != 0:
        return None
    if cluster.exists() and cluster.stat().st_uid != 0:
        return _described(pwd.getpwuid(cluster.stat().st_uid))
    for _ in range(5):
        try:
            return _described(pwd.getpwnam(_NAME))
        except KeyError:
            _add_user()
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and the user {_NAME!r} to run it as cannot be made; "
        "run as an ordinary user, or set EMBEDDING_DATABASE_URL to another PostgreSQL"
    )


def _described(entry: pwd.struct_passwd) -> SystemUser:
    return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _add_user() -> None:
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return
    command = [program, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _NAME]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:  # noqa: S603
        time.sleep(0.2)  # another process may be writing the same file
