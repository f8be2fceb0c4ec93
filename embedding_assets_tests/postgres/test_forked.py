"""A forked process, and the connections of its parent."""

import subprocess
import sys

FORK = """
import os, sys
from embedding_assets.config import DatabaseConfig
from embedding_assets.postgres.connection import Database

def backend(connection):
    return connection.execute("SELECT pg_backend_pid()").fetchone()[0]

database = Database(sys.argv[1], DatabaseConfig())
before = database.run(backend)
child = os.fork()
if child == 0:
    assert database.run(backend) != before
    database.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert database.run(lambda connection: connection.execute(
    "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [before]
).fetchone()[0]) == 1
database.close()
"""


def test_a_forked_process_leaves_its_parents_connections_alone(database_url):
    # In a process without other threads, of which nothing is known after a fork.
    subprocess.run([sys.executable, "-c", FORK, database_url], timeout=60, check=True)
