"""The command is stopped before it has begun: no traceback, and the status that shells expect."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


@pytest.mark.covered_processes
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


WAITING = """
import os, sys
from embedding_assets.cli.entry import main
sys.argv[1:] = ["--version"]
try:
    main()
finally:
    assert "torch" not in sys.modules
    print(os.environ["OMP_WAIT_POLICY"], flush=True)
"""


@pytest.mark.parametrize(("set_to", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_wants_it_otherwise(set_to: str | None, policy: str):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": set_to} if set_to else {}
    done = subprocess.run(
        [sys.executable, "-c", WAITING], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split()[-1] == policy, done.stderr


@pytest.mark.usefixtures("database")
def test_a_search_imports_nothing_that_it_does_not_use(run: Callable[..., tuple[int, str, str]], tmp_path: Path):
    (tmp_path / "one.md").write_text("# Title\n\nThreads race.")
    assert run("load", tmp_path / "one.md")[0] == run("embed")[0] == 0
    unused = {"dagster", "transformers", "sentence_transformers", "scipy", "sympy", "pandas", "sklearn", "sqlalchemy",
              "alembic", "openai", "matplotlib", "pyarrow", "torch._dynamo"}  # fmt: skip
    code = (
        "import atexit, gc, sys; "
        f"atexit.register(lambda: print(gc.isenabled(), *sorted({unused!r} & set(sys.modules)), file=sys.stderr)); "
        "sys.argv = ['embedding-assets', 'search', 'What races?']; "
        "from embedding_assets.cli.entry import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Threads race." in done.stdout
    assert done.stderr.split() == ["True"]
