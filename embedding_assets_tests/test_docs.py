"""README and docs have what the code has, name only what exists, and show only what runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from embedding_assets.cli.app import app
from embedding_assets.config import Settings
from embedding_assets.health.checks import CHECKS
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import insert_chunks

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_sections_are_those_of_the_code():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    settings = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert "| `EMBEDDING_INDEX_M` | `16` |" in settings
    checks = (ROOT / "docs" / "dagster.md").read_text("utf-8")
    assert all(f"| `{check.name}` |" in checks for check in CHECKS)


def test_the_first_page_is_short():
    assert len(README.read_text("utf-8").splitlines()) <= 160


def test_commands_exist_and_all_are_described():
    commands = set(typer.main.get_group(app).commands)
    for page in PAGES:
        text = page.read_text("utf-8")
        named = set(re.findall(r"(?:^|[`$ ])embedding-assets ([a-z-]+)", text, re.MULTILINE))
        assert named <= commands, page.name
    described = re.findall(
        r"^## `embedding-assets ([a-z-]+)`", (ROOT / "docs" / "cli.md").read_text("utf-8"), re.MULTILINE
    )
    assert set(described) == commands


def test_settings_exist():
    described = (ROOT / "docs" / "settings.md").read_text("utf-8")
    known = set(re.findall(r"`(EMBEDDING_[A-Z_]+)`", described))
    assert len(known) > len(Settings.model_fields)
    for page in [*PAGES, *(ROOT / "examples").rglob("*.py")]:
        named = set(re.findall(r"EMBEDDING_[A-Z_]+[A-Z]", page.read_text("utf-8")))
        assert named <= known, page.name


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {
        name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {"demo", "ui", "test", "check", "docs"} <= targets
    for target in targets:
        pattern = "bench-%" if target.startswith("bench-") else target
        assert re.search(rf"^{pattern}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def programs() -> list[object]:
    """Those of a page run one after the other in one process, as a reader would try them."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        found += [pytest.param("\n".join(blocks), id=page.stem)] if blocks else []
    return found


@pytest.mark.parametrize("program", programs())
def test_programs_run(
    program: str, settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    insert_chunks(database, ["Keys are rotated every ninety days."])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
