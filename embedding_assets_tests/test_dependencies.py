"""What is imported is declared."""

import ast
import importlib
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported(package: Path) -> dict[str, str]:
    """Top-level name of each module that is imported → a file that does."""
    found = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.partition(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_that_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [project["optional-dependencies"][name] for name in ("documents", "evaluate", "ray", "serve", "stores")]
    lines = [line for group in (project["dependencies"], *extras) for line in group]
    declared = {normalized(re.match(r"[\w.-]+", line)[0]) for line in lines}
    # An extra of psycopg.
    declared.add("psycopg-pool")
    distributions = packages_distributions()
    undeclared = {
        name: path
        for name, path in imported(ROOT / "embedding_assets").items()
        if name not in sys.stdlib_module_names
        and name != "embedding_assets"
        and not declared & {normalized(distribution) for distribution in distributions.get(name, ())}
    }
    assert undeclared == {}


def test_what_programs_beside_the_package_import_from_it_is_there():
    """Benchmarks, scripts of the docs and examples, which no other test imports."""
    missing = []
    for folder in ("benchmarks", "docs", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            if ".peers" in path.parts:
                continue  # what others install there
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("embedding_assets"):
                    module = importlib.import_module(node.module)
                    missing += [
                        f"{path.relative_to(ROOT)}: {node.module}.{alias.name}"
                        for alias in node.names
                        if not hasattr(module, alias.name) and find_spec(f"{node.module}.{alias.name}") is None
                    ]
    assert missing == []
