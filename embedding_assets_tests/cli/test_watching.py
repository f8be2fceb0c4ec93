"""``embed --watch`` as a process."""

import json
import os
import signal
import subprocess
import sys

import pytest

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.fakes import insert_chunks

COMMAND = "from embedding_assets.cli.entry import main; main()"


@pytest.mark.covered_processes
@pytest.mark.usefixtures("settings")
def test_rows_are_embedded_as_they_come_until_it_is_stopped(database: Database):
    insert_chunks(database, ["there before"])
    process = processes.start(
        [sys.executable, "-c", COMMAND, "embed", "--watch", "--json"],
        env=os.environ | {"NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline()]
    for text in ("one", "two"):
        insert_chunks(database, [text])
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "", "Stopped. Run it again to go on.\n")
    assert [json.loads(line)["embedded"] for line in lines] == [1, 1, 1]
    query = "SELECT count(embedding) FROM knowledge_base"
    assert database.run(lambda connection: connection.execute(query).fetchone()) == (3,)


def test_on_a_cluster_it_is_refused(run, settings: Settings):
    status, _, err = run("embed", "--watch", "--ray", "auto")
    assert status == 2
    assert "leave --ray and EMBEDDING_RAY_ADDRESS out" in " ".join(err.split())
