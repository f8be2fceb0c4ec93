"""The files of a folder, in order, and a count of all that is left out: nothing is passed over in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from embedding_assets.documents.ignoring import (
    GITIGNORE,
    Choice,
    IgnoreFile,
    is_ignored,
    kind_by_name,
    made_by_tools,
)
from embedding_assets.documents.rejection import Rejection

if TYPE_CHECKING:
    from embedding_assets.documents.tree import Entry, Tree

F = TypeVar("F")

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
    tree: Tree[F], origin: str, choice: Choice, is_readable: Callable[[str], bool], counts: WalkCounts
) -> Iterator[F | Rejection]:
    """The files to read of a folder and those below it, by name.

    Args:
        tree: the folders.
        origin: what the uppermost one is called.
        choice: which files are wanted.
        is_readable: whether a file of that name is of a kind that is read.
        counts: to be added to.
    """
    rules = [] if choice.all_files else tree.ignore_files_above()
    yield from _Walk(tree, choice, is_readable, counts).folder(tree.top, origin, rules, 0)


class _Walk(Generic[F]):
    def __init__(self, tree: Tree[F], choice: Choice, is_readable: Callable[[str], bool], counts: WalkCounts) -> None:
        self._tree = tree
        self._choice = choice
        self._included = choice.included
        self._excluded = choice.excluded
        self._is_readable = is_readable
        self._counts = counts

    def folder(self, path: str, origin: str, above: Sequence[IgnoreFile], depth: int) -> Iterator[F | Rejection]:
        try:
            entries = sorted(self._tree.entries(path), key=lambda entry: entry.name)
            names = frozenset(entry.name for entry in entries)
            has_rules = GITIGNORE in names and not self._choice.all_files
            rules = [*above, *self._tree.ignore_file(path)] if has_rules else above
        except OSError as error:
            self._counts.unread.append(origin)
            yield Rejection(origin, None, f"cannot be read: {error.strerror}")
            return
        for entry in entries:
            name = f"{origin}/{entry.name}"
            rule = self._rule(entry, rules, names)
            if rule is not None:
                self._counts.left_out[rule] += 1
            elif (problem := _problem(name, depth)) is not None:
                yield Rejection(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), None, problem)
            elif entry.is_folder:
                yield from self.folder(entry.path, name, rules, depth + 1)
            elif not self._is_wanted(entry):
                self._counts.left_out["--include"] += 1
            elif not self._is_readable(entry.name):
                self._counts.other_kinds[_kind(entry.name)] += 1
            else:
                self._counts.files += 1
                yield self._tree.file(entry.path, name)

    def _rule(self, entry: Entry, rules: Sequence[IgnoreFile], siblings: frozenset[str]) -> str | None:
        """The rule that leaves an entry out."""
        rule = None
        if self._excluded is not None and self._excluded.match_file(self._below(entry)):
            rule = "--exclude"
        elif entry.name.startswith("."):
            rule = "hidden"
        elif entry.special is not None:
            rule = entry.special
        elif self._choice.all_files:
            rule = None
        elif entry.is_folder and (made := made_by_tools(entry.path, siblings, self._tree.has)) is not None:
            rule = made
        elif is_ignored(rules, entry.path, is_folder=entry.is_folder):
            rule = ".gitignore"
        elif not entry.is_folder:
            rule = kind_by_name(entry.name)
        return rule

    def _is_wanted(self, entry: Entry) -> bool:
        return self._included is None or self._included.match_file(self._below(entry))

    def _below(self, entry: Entry) -> str:
        """The path below the uppermost folder, with a slash at the end of a folder's."""
        below = entry.path[len(self._tree.top) :].lstrip("/")
        return f"{below}/" if entry.is_folder else below


def _kind(name: str) -> str:
    """What a file is counted as that is not read: its suffix, and of a packed one that of what is in it, too."""
    suffixes = Path(name.lower()).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:]) or "without a suffix"


def _problem(origin: str, depth: int) -> str | None:
    """The reason why nothing can be called so."""
    try:
        size = len(origin.encode())
    except UnicodeEncodeError:
        return "has a name that is not valid UTF-8"
    if size > _MOST_ORIGIN_BYTES:
        return f"has a path of more than {_MOST_ORIGIN_BYTES:,} bytes"
    return "lies too deep" if depth > _DEEPEST else None
