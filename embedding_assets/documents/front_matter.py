"""The front matter of a Markdown text: what it says about the page, in YAML or TOML."""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime, time
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import CSafeLoader
    from yaml.nodes import ScalarNode

_BLOCK = re.compile(
    r"\A(?:---[ \t]*\n(.*?)^(?:---|\.\.\.)|\+\+\+[ \t]*\n(.*?)^\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_MOST_CHARACTERS = 100_000
_MOST_VALUES = 10_000
_DEEPEST = 50
"""No front matter is nested so; what builds its values goes down by recursion in C, which ends the process."""

_MOST_MERGED = 20
"""Uses of anchors where maps are merged, each of which may double what came before."""

_MOST_DOTS = 200
"""In a key of TOML, whose parser takes minutes for the longest ones."""

_LARGEST = 1 << 64
_MOST_DIGITS = 20
_NOT_YAML = object()


class FrontMatterError(Exception):
    """What stands between the marks is broken."""


def front_matter(text: str) -> tuple[dict[str, Any], int]:
    """The fields, and the offset at which the text behind them begins: 0 if there are none.

    A rule at the beginning of a text, with another one below, is no front matter.

    Raises:
        FrontMatterError: it is meant to be front matter, and cannot be read.
    """
    found = _BLOCK.match(text, 0, _MOST_CHARACTERS)
    if found is None:
        return {}, 0
    yaml, toml = found.group(1), found.group(2)
    if toml is not None:
        if any(part.count(".") > _MOST_DOTS for line in toml.split("\n") for part in line.split("=")):
            raise FrontMatterError
        try:
            return _plain(tomllib.loads(toml)), found.end()
        except (ValueError, RecursionError):  # the first also of a number with too many digits
            raise FrontMatterError from None
    fields = _yaml(yaml)
    if isinstance(fields, dict) and fields:
        return _plain(fields), found.end()
    # Nothing, or comments alone; not a heading between two rules, which is one, too.
    is_empty = not yaml.strip() or (not fields and yaml[:1] != "\n" and not isinstance(fields, str))
    return {}, found.end() if is_empty and fields is not _NOT_YAML else 0


def _yaml(text: str) -> object:
    from yaml import YAMLError, load

    try:
        _check_structure(text)
        return load(text, _loader())  # noqa: S506 (a safe one)
    except (YAMLError, ValueError, RecursionError):
        # A paragraph between two rules may be no YAML either.
        if re.search(r"^[\"']?[\w -]{1,60}[\"']?[ \t]*:(?:\s|$)", text, re.MULTILINE) and "\n\n" not in text.strip():
            raise FrontMatterError from None
        return _NOT_YAML


@cache
def _loader() -> type[CSafeLoader]:
    from yaml import CSafeLoader

    class Loader(CSafeLoader):  # type: ignore[misc]
        """Safe, and for numbers stricter than YAML 1.1, to which 12:30 is 750, and 0123 is 83."""

    for kind in ("int", "float", "value"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", _as_written)
    return Loader


def _as_written(_: CSafeLoader, node: ScalarNode) -> int | float | str:
    """A number where its digits say all, else the text: a time, a code, a version such as 1.10."""
    text = str(node.value)
    if len(text) <= _MOST_DIGITS:
        for kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            if str(number) in (text, f"0{text}") and abs(number) < _LARGEST:
                return number
    return text


def _check_structure(text: str) -> None:
    """Refuse what would take far more stack or memory to be built than it takes to be written.

    Raises:
        FrontMatterError: it is nested deeper, or refers to itself more often, than anybody writes.
        YAMLError: it is no YAML.
    """
    from yaml import AliasEvent, CSafeLoader, ScalarEvent, parse
    from yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = aliases = 0
    has_merged = False
    for event in parse(text, CSafeLoader):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        aliases += isinstance(event, AliasEvent)
        has_merged = has_merged or (isinstance(event, ScalarEvent) and event.value == "<<")
        if depth > _DEEPEST or (has_merged and aliases > _MOST_MERGED):
            raise FrontMatterError


def _plain(fields: dict[Any, Any]) -> dict[str, Any]:
    left = _MOST_VALUES

    def plain(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        # An alias that is used again and again would be written out each time.
        if left < 0 or depth > 20:
            raise FrontMatterError
        # Of very large ones not even the digits can be written.
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise FrontMatterError
        if isinstance(value, dict):
            return {str(key): plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [plain(item, depth + 1) for item in value]
        if isinstance(value, date | datetime | time):
            return value.isoformat()
        return value

    return {str(key): plain(value, 0) for key, value in fields.items()}


def front_matter_end(text: str) -> int:
    """The offset behind what is meant to be front matter, whether or not it can be read."""
    try:
        return front_matter(text)[1]
    except FrontMatterError:
        found = _BLOCK.match(text, 0, _MOST_CHARACTERS)
        return found.end() if found else 0
