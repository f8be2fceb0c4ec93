"""The borders between the layers, drawn in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_no_import_crosses_a_border():
    # In a process of its own: the linter disables all loggers of the one it runs in.
    code = "import sys; from importlinter.cli import lint_imports as run; "
    code += "sys.exit(run(config_filename=sys.argv[1], no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code, str(PROJECT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
