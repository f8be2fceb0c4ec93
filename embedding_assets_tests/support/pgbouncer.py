"""A real PgBouncer before the tests' server."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from embedding_assets_tests.support import processes

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(url: str, mode: str, **settings: str) -> Iterator[str]:
    """The URL of a pooler in that mode (``session``, ``transaction``) before ``url``; skips where there is none."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed")
    server = conninfo_to_dict(url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="eapb", dir="/tmp"))
    try:
        (folder / "users.txt").write_text('"postgres" ""\n')
        options = {
            "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "any",
            "pool_mode": mode, "admin_users": "postgres", "default_pool_size": "8", "max_client_conn": "100",
        } | settings  # fmt: skip
        lines = "\n".join(f"{name} = {value}" for name, value in options.items())
        target = f"host={server['host']} port={server.get('port', 5432)} user={server['user']}"
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(f"[databases]\n* = {target}\n[pgbouncer]\n{lines}\n")
        folder.chmod(0o755)
        command = [PROGRAM, str(configuration)]
        if os.geteuid() == 0:  # it does not run as root, and the socket is its server's alone
            owner = pwd.getpwuid(Path(server["host"]).stat().st_uid).pw_name
            command = [PROGRAM, "-u", owner, str(configuration)]
        process = processes.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pooled = make_conninfo(url, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        _wait_for(pooled)
        try:
            yield pooled
        finally:
            process.terminate()
            process.wait(180)
    finally:
        shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            with closing(psycopg.connect(url, connect_timeout=2)):
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
