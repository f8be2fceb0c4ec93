"""The borders between the layers, drawn in pyproject.toml."""

from pathlib import Path

from importlinter import cli

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_no_import_crosses_a_border():
    assert cli.lint_imports(config_filename=str(PROJECT), no_cache=True) == 0
