"""Embedded servers of other folders than the session's: where they lie, who holds them, what they answer."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from embedding_assets.postgres.server import postmaster
from embedding_assets_tests.support import processes

HOLDER = """
import sys
from pathlib import Path
from embedding_assets.postgres.server.embedded import start_embedded_server
print(start_embedded_server(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def make_folder():
    """A short path, because sockets need one, that the server's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="ea", dir="/tmp"))
    path.chmod(0o755)
    return path


class Holder:
    """Another process that uses the server of a folder."""

    def __init__(self, data_dir, **environment):
        self.process = processes.start(
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
