"""The command is stopped before it has begun: no traceback, and the status that shells expect."""

import os
import signal
import subprocess
import sys

import pytest

from embedding_assets_tests.support import processes

STOPPED_WHILE_IMPORTING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it

module, number = sys.argv[1:]

class Stopping:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Stopping())
from embedding_assets.cli.entry import main
sys.argv[1:] = ["embed"]
main()
"""


@pytest.mark.parametrize("module", ["typer", "embedding_assets.cli.app", "embedding_assets.pipeline.run"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_it_imports(module: str, number: signal.Signals, status: int):
    process = processes.start(
        [sys.executable, "-c", STOPPED_WHILE_IMPORTING, module, str(int(number))],
        env=os.environ | {"EMBEDDING_DATABASE_URL": "postgresql://127.0.0.1:1/d"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (status, "", "Stopped.\n")
