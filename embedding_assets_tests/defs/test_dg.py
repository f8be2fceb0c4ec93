"""What ``dg`` makes of the components: it lists them, writes their files, and says where one is wrong."""

import re
from pathlib import Path

import pytest
import yaml

from embedding_assets_tests.support.dg_project import DgProject

TABLE, QUERY = "embedding_assets.EmbeddedTable", "embedding_assets.EmbeddedQuery"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DgProject:
    """An empty one, with a home."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return DgProject.make(tmp_path / "theirs")


def test_components_are_listed(project: DgProject):
    done = project.dg("list", "components", "--json")
    assert done.returncode == 0, done.stderr
    assert TABLE in done.stdout
    assert QUERY in done.stdout
    assert "A PostgreSQL table that is kept embedded" in done.stdout


def test_what_is_scaffolded_is_right(project: DgProject):
    scaffold = ("scaffold", "defs")
    for arguments in (
        (TABLE, "articles"),
        (TABLE, "my-notes", "--table", 'shop."Notes"', "--text", "{title}: {body}"),
        (TABLE, "handbook", "--documents", "README.md"),
        (TABLE, "in_python", "--format", "python", "--table", "shop.pages"),
        (QUERY, "reviews"),
        (QUERY, "orders", "--table", "shop.orders", "--text", "remark"),
    ):
        done = project.dg(*scaffold, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    written = {path.parent.name: yaml.safe_load(path.read_text()) for path in project.defs.rglob("defs.yaml")}
    assert written["my-notes"]["attributes"] == {
        "key_prefix": "my_notes",
        "table": 'shop."Notes"',
        "text": "{title}: {body}",
    }
    assert written["handbook"]["attributes"] == {"key_prefix": "handbook", "documents": ["README.md"]}
    assert written["reviews"]["attributes"]["name"] == "reviews"
    assert written["orders"]["attributes"]["text"] == "remark"
    checked = project.dg("check", "yaml")
    assert checked.returncode == 0, checked.stdout
    checked = project.dg("check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # What stands as comments is right, too.
    for path in project.defs.rglob("defs.yaml"):
        path.write_text(re.sub(r"^  # (?=[a-z_]+:|  )", "  ", path.read_text(), flags=re.MULTILINE))
    commented = yaml.safe_load((project.defs / "articles" / "defs.yaml").read_text())["attributes"]
    assert {"database_url", "provider", "model", "settings", "budget", "automation", "owners", "deps"} <= set(commented)
    checked = project.dg("check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_documents_go_into_no_table_of_yours(project: DgProject):
    done = project.dg("scaffold", "defs", TABLE, "handbook", "--documents", "docs", "--table", "notes")
    assert done.returncode != 0
    assert "--documents go into knowledge_base; leave --table and --text out" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("wrong", "line", "message"),
    [
        ("tabel: notes", 3, "Additional properties are not allowed ('tabel' was unexpected)"),
        ("table: [notes]", 3, "is not"),
        ("table: notes\n  partitions: 17", 4, "17 is not valid under any of the given schemas"),
        ("table: notes\n  budget:\n    usd_per_week: 3", 4, "usd_per_week"),
    ],
)
def test_a_wrong_field_is_found_by_file_and_line(project: DgProject, wrong: str, line: int, message: str):
    path = project.write("articles", f"type: {TABLE}\nattributes:\n  {wrong}\n")
    done = project.dg("check", "yaml")
    assert done.returncode == 1
    assert f"{path}:{line}" in done.stdout
    assert message in done.stdout


def test_an_unknown_setting_is_found_the_same_way(project: DgProject):
    path = project.write(
        "articles", f"type: {TABLE}\nattributes:\n  table: notes\n  settings: {{EMBEDDING_INDEX_N: 3}}\n"
    )
    done = project.dg("check", "defs")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "EMBEDDING_INDEX_N is not a setting; did you mean EMBEDDING_INDEX_M?" in said
    assert f"{path}:4" in said
