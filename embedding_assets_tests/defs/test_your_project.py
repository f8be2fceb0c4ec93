"""The commands of the page on projects, in a project that Dagster's own tool makes."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import psycopg
import pytest

from embedding_assets_tests.support.dg_project import ROOT, DgProject

PAGE = ROOT / "docs" / "your_project.md"


def commands() -> list[str]:
    """Those of the first block."""
    block = re.search(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return block[1].splitlines()


def test_from_nothing_to_a_table_that_is_searched_are_five_commands():
    assert len(commands()) == 5


@pytest.mark.usefixtures("settings")
@pytest.mark.skipif(
    importlib.util.find_spec("create_dagster") is None, reason="create-dagster is not installed; it is in the extra dev"
)
def test_the_commands_do_what_the_page_says(
    beside: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    create, install, *rest = commands()
    name = "my_search"
    assert create.startswith("uvx create-dagster@latest ")
    assert install.startswith(f"cd {name} && ")
    # Of this environment, in which everything is installed already but the project.
    arguments = shlex.split(create.removeprefix("uvx create-dagster@latest "))
    project = DgProject(tmp_path, name)
    made = project.run(sys.executable, "-c", "from create_dagster.cli import main; main()", *arguments)
    assert made.returncode == 0, made.stdout + made.stderr
    project = DgProject(tmp_path / name, name)
    for command in rest:
        program, *arguments = shlex.split(command)
        if program == "dg":
            done = project.dg(*arguments)
        else:
            done = project.run(sys.executable, "-m", "embedding_assets.cli.entry", *arguments)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "README.md" in done.stdout
    chunks, vectors = beside.execute("SELECT count(*), count(embedding) FROM knowledge_base").fetchone()
    assert chunks == vectors > 3
