"""The files of a folder, in order, and a count of all that is left out: nothing is passed over in silence."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from embedding_assets.documents.collections import LocalRoot
from embedding_assets.documents.found_file import LocalFile
from embedding_assets.documents.ignoring import (
    Choice,
    IgnoreFile,
    ignore_files_above,
    is_ignored,
    kind_by_name,
    made_by_tools,
    read_ignore_file,
)
from embedding_assets.documents.rejection import Rejection

_MOST_ORIGIN_BYTES: Final = 2_000
"""An index entry has no room for more."""

_DEEPEST: Final = 500


@dataclass(slots=True)
class WalkCounts:
    """What was found, and what of it is not read.

    Attributes:
        files: those to read.
        other_kinds: files of kinds that are not read, by what their names end in.
        left_out: files and folders by the rule that leaves them out; a folder counts as one.
        unread: folders whose entries could not be listed, by their origins: nothing is known of what is in them.
    """

    files: int = 0
    other_kinds: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)


def walk(
    root: LocalRoot, choice: Choice, is_readable: Callable[[Path], bool], counts: WalkCounts
) -> Iterator[LocalFile | Rejection]:
    """The files to read of a root, by name; a file that is one itself, whatever the rules.

    Links to files count as files. Those to folders are left out: they may lead back up and never end.

    Args:
        root: a folder or a file.
        choice: which files are wanted.
        is_readable: whether a file is of a kind that is read, by its name.
        counts: to be added to.
    """
    if not root.is_folder:
        yield LocalFile(root.path, root.origin)
        return
    rules = [] if choice.all_files else ignore_files_above(root.path)
    yield from _Walk(root, choice, is_readable, counts).folder(str(root.path), root.origin, rules, 0)


class _Walk:
    def __init__(
        self, root: LocalRoot, choice: Choice, is_readable: Callable[[Path], bool], counts: WalkCounts
    ) -> None:
        self._top = str(root.path)
        self._choice = choice
        self._included = choice.included
        self._excluded = choice.excluded
        self._is_readable = is_readable
        self._counts = counts

    def folder(
        self, path: str, origin: str, above: Sequence[IgnoreFile], depth: int
    ) -> Iterator[LocalFile | Rejection]:
        try:
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self._counts.unread.append(origin)
            yield Rejection(origin, None, f"cannot be read: {error.strerror}")
            return
        names = frozenset(entry.name for entry in entries)
        rules = above if self._choice.all_files or ".gitignore" not in names else [*above, *read_ignore_file(path)]
        for entry in entries:
            name = f"{origin}/{entry.name}"
            is_folder = _is_folder(entry)
            rule = self._rule(entry, is_folder, rules, names)
            if rule is not None:
                self._counts.left_out[rule] += 1
            elif (problem := _problem(name, depth)) is not None:
                yield Rejection(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), None, problem)
            elif is_folder:
                yield from self.folder(entry.path, name, rules, depth + 1)
            elif not self._is_wanted(entry):
                self._counts.left_out["--include"] += 1
            elif not self._is_readable(Path(entry.name)):
                self._counts.other_kinds[Path(entry.name).suffix.lower() or "without a suffix"] += 1
            else:
                self._counts.files += 1
                yield LocalFile(Path(entry.path), name)

    def _rule(
        self, entry: os.DirEntry[str], is_folder: bool, rules: Sequence[IgnoreFile], siblings: frozenset[str]
    ) -> str | None:
        """The rule that leaves an entry out."""
        path = f"{entry.path}/" if is_folder else entry.path
        rule = None
        if self._excluded is not None and self._excluded.match_file(path[len(self._top) :].lstrip("/")):
            rule = "--exclude"
        elif entry.name.startswith("."):
            rule = "hidden"
        elif not is_folder and (special := _special(entry)) is not None:
            rule = special
        elif self._choice.all_files:
            rule = None
        elif is_folder and (made := made_by_tools(entry, siblings)) is not None:
            rule = made
        elif is_ignored(rules, entry.path, is_folder=is_folder):
            rule = ".gitignore"
        elif not is_folder:
            rule = kind_by_name(entry.name)
        return rule

    def _is_wanted(self, entry: os.DirEntry[str]) -> bool:
        return self._included is None or self._included.match_file(entry.path[len(self._top) :].lstrip("/"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _special(entry: os.DirEntry[str]) -> str | None:
    """What an entry is that is neither a file nor a folder; None of one that is a file, or may be."""
    try:
        if entry.is_file(follow_symlinks=False):
            return None  # as its folder says: nothing has to be asked about it
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return "links that lead nowhere" if entry.is_symlink() else None
    except OSError:
        return "links in a circle" if entry.is_symlink() else None
    if stat.S_ISDIR(mode):
        return "linked folders"
    return None if stat.S_ISREG(mode) else "pipes, sockets and devices"


def _problem(origin: str, depth: int) -> str | None:
    """The reason why nothing can be called so."""
    try:
        size = len(origin.encode())
    except UnicodeEncodeError:
        return "has a name that is not valid UTF-8"
    if size > _MOST_ORIGIN_BYTES:
        return f"has a path of more than {_MOST_ORIGIN_BYTES:,} bytes"
    return "lies too deep" if depth > _DEEPEST else None
