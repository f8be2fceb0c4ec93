"""The README has every setting as the code has it, and names only commands that exist."""

import re
from pathlib import Path

import pytest
import typer
from pydantic_core import PydanticUndefined

from embedding_assets.cli.app import app
from embedding_assets.config import Settings
from embedding_assets_tests.test_config import GROUPS

README = Path(__file__).parents[1] / "README.md"


def settings_table() -> list[str]:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for group in (*GROUPS, Settings):
        for name, field in group.model_fields.items():
            if field.description is None:
                continue
            default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
            rows.append(f"| `{group.model_config['env_prefix']}{name.upper()}` | {default} | {field.description} |")
    return rows


def test_every_setting_is_in_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    start = text.index("| variable | default | meaning |")
    assert text[start:].split("\n\n", 1)[0].splitlines() == settings_table()


def test_commands_exist() -> None:
    commands = set(typer.main.get_group(app).commands)
    named = set(re.findall(r"embedding-assets ([a-z]+)", README.read_text(encoding="utf-8")))
    assert named <= commands, named - commands
    assert commands <= named, commands - named


@pytest.mark.parametrize("target", ["demo", "test", "ui", "check"])
def test_make_targets_exist(target: str) -> None:
    makefile = README.with_name("Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert f"make {target}" in README.read_text(encoding="utf-8")
