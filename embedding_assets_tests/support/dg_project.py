"""A Dagster project of somebody's, as its own tool makes it, and that tool."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PYPROJECT = """
[project]
name = "theirs"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "theirs"
"""

DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


class DgProject:
    """A project in a folder.

    Attributes:
        folder: its root.
        defs: where its ``defs.yaml`` are.
    """

    def __init__(self, folder: Path, name: str = "theirs") -> None:
        self.folder = folder
        self.defs = folder / "src" / name / "defs"

    @classmethod
    def make(cls, folder: Path) -> "DgProject":
        """Write an empty project."""
        project = cls(folder)
        project.defs.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(PYPROJECT)
        for package in (project.defs.parent, project.defs):
            (package / "__init__.py").write_text("")
        (project.defs.parent / "definitions.py").write_text(DEFINITIONS)
        return project

    def write(self, name: str, text: str) -> Path:
        """Write the ``defs.yaml`` of a component."""
        path = self.defs / name / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def dg(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run ``dg`` in the project, as if it were installed."""
        return self.run(sys.executable, "-m", "dagster_dg_cli.cli", *arguments)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the project."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.folder / "src"), str(ROOT)]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # It would ask the package index.
            "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0",
            # Wide, so that no line is broken.
            "COLUMNS": "300",
        }
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
