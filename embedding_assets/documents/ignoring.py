"""What a load leaves out of a folder: what is no document of its owner's, by the rules of git and by patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pathspec import GitIgnoreSpec

from embedding_assets.errors import DocumentError

GITIGNORE: Final = ".gitignore"

_FOLDERS: Final = re.compile(
    r"node_modules|bower_components|__pycache__|site-packages|__pypackages__|_build|htmlcov|.+(\.(?:egg|dist)-info)",
)
"""Folders that tools make and fill, by names that other folders do not have."""

_BUILT: Final = frozenset({"build", "dist", "target", "out"})
"""Folders that a build fills, where the file of a project lies beside them."""

_PROJECT: Final = frozenset(
    {"pyproject.toml", "setup.py", "setup.cfg", "package.json", "Cargo.toml", "pom.xml", "build.gradle"}
    | {"build.gradle.kts", "CMakeLists.txt", "Makefile", "conf.py", "mkdocs.yml", "meson.build"}
)

_MARKERS: Final = {"pyvenv.cfg": "virtual environments", "CACHEDIR.TAG": "caches"}
"""Files by which a folder of any name is known: https://bford.info/cachedir/ and Python's venv."""

_FILES: Final = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "lock files": r".+\.lockb?|(?:package-lock|npm-shrinkwrap|packages\.lock)\.json|(?:pnpm|conda)-lock\.ya?ml"
        r"|~\$.+|gradle\.lockfile|Package\.resolved|go\.sum|pylock(?:\..+)?\.toml",
        "minified code": r".+[.-]min\.(?:[cm]?js|css)",
        "source maps": r".+\.(?:[cm]?[jt]sx?|css)\.map",
        "generated code": r".+_pb2(?:_grpc)?\.pyi?|.+\.pb\.(?:go|cc|h)|.+_pb\.(?:js|d\.ts)|.+\.(?:g|Designer)\.cs",
        "checkpoints of notebooks": r".+-checkpoint\.ipynb",
        "for machines, as requirements.txt": r"(?:requirements|constraints)[\w.-]*\.txt|CMakeLists\.txt|robots\.txt"
        r"|SOURCES\.txt"
        r"|(?:package|composer|[jt]sconfig(?:\.[\w-]+)?)\.json",
    }.items()
}
"""Files that no person wrote to be read, although some of them end like texts or code: kind, then what names fit."""

_ANY_FILE: Final = re.compile("|".join(f"(?:{names.pattern})" for names in _FILES.values()))


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of a folder are wanted.

    Attributes:
        include: patterns as in .gitignore; if there are any, only files that one of them names.
        exclude: patterns of what is left out.
        all_files: take what .gitignore names and what tools make, too.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    all_files: bool = False

    def check(self) -> None:
        """Make sure that all are patterns.

        Raises:
            DocumentError: one of them is none.
        """
        _ = self.included, self.excluded

    @property
    def included(self) -> GitIgnoreSpec | None:
        """The patterns of ``include``; None if there are none."""
        return patterns("--include", self.include) if self.include else None

    @property
    def excluded(self) -> GitIgnoreSpec | None:
        """The patterns of ``exclude``; None if there are none."""
        return patterns("--exclude", self.exclude) if self.exclude else None


def patterns(option: str, lines: Sequence[str]) -> GitIgnoreSpec:
    """Patterns as in .gitignore.

    Raises:
        DocumentError: one of them is none; ``option`` is named.
    """
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise DocumentError(f"{option}: {error}") from None


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The rules of one .gitignore: about paths below its folder."""

    folder: str
    rules: GitIgnoreSpec

    def says(self, path: str, *, is_folder: bool) -> bool | None:
        """Whether it leaves out ``path``, or takes it in; None if it says nothing of it."""
        below = path[len(self.folder) :].lstrip("/")
        return self.rules.check_file(f"{below}/" if is_folder else below).include


def parsed_ignore_file(folder: str, text: str) -> IgnoreFile:
    """The rules of one in ``folder``; a line that is no pattern is passed over, as git does."""
    lines = text.splitlines()
    try:
        return IgnoreFile(folder, GitIgnoreSpec.from_lines(lines))
    except ValueError:
        return IgnoreFile(folder, GitIgnoreSpec.from_lines(filter(_is_pattern, lines)))


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True


def is_ignored(rules: Sequence[IgnoreFile], path: str, *, is_folder: bool) -> bool:
    """Whether the last of the .gitignore files that says something of ``path`` leaves it out."""
    said = (one.says(path, is_folder=is_folder) for one in reversed(rules))
    return next((one for one in said if one is not None), False)


def made_by_tools(path: str, siblings: frozenset[str], has: Callable[[str], bool]) -> str | None:
    """What a folder is that a tool made, in the plural; None for any other.

    Args:
        path: of the folder.
        siblings: names of what is beside it.
        has: whether there is a file at a path.
    """
    name = path.rpartition("/")[2]
    if found := _FOLDERS.fullmatch(name):
        return f"*{found[1]}" if found[1] else name
    if name in _BUILT and siblings & _PROJECT:
        return name
    return next((kind for marker, kind in _MARKERS.items() if has(f"{path}/{marker}")), None)


def kind_by_name(name: str) -> str | None:
    """What a file is that is known by its name to be no document, in the plural; None for any other."""
    if not _ANY_FILE.fullmatch(name):
        return None
    return next(kind for kind, names in _FILES.items() if names.fullmatch(name))
