"""The words of a calendar entry (iCalendar), as mail with an invitation has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_FOLD: Final = re.compile(r"\r?\n[ \t]")
_ENTRIES: Final = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
_LINE: Final = re.compile(r"([A-Za-z-]++)((?:[^\":]|\"[^\"]*\")*+):(.*)", re.DOTALL)
"""A name, what is said about it, of which a part in quotes may hold any mark, and the value."""
_ZONE: Final = re.compile(r";TZID=(?:\"([^\"]*)\"|([^\";]*))", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\([nN\\;,])")
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_CALLED: Final = {"DTSTART": "Start: ", "DTEND": "End: ", "DUE": "Due: ", "LOCATION": "Location: "}
_ORDER: Final = ("SUMMARY", *_CALLED)
_NAMES: Final = frozenset({*_ORDER, "DESCRIPTION", "COMMENT"})


class _Line(NamedTuple):
    """A line of an entry: its name in capitals, what is said about it, and its value."""

    name: str
    about: str
    value: str


def calendar_words(calendar: str) -> str:
    """What its entries say: what is planned, when, where, and what is written about it."""
    lines = (line.rstrip("\r") for line in _FOLD.sub("", calendar).split("\n"))
    return "\n\n".join(filter(None, ("\n".join(_words(entry)) for entry in _entries(lines))))


def _entries(lines: Iterable[str]) -> Iterator[list[_Line]]:
    """The lines of each entry, without those of what is in it, as of an alarm, which has a description of its own."""
    entry: list[_Line] | None = None
    inside = 0
    for line in filter(None, map(_parted, lines)):
        kind = line.value.strip().upper()
        if line.name in {"BEGIN", "END"} and kind in _ENTRIES:
            if entry is not None:
                yield entry
            entry, inside = [] if line.name == "BEGIN" else None, 0
        elif entry is None:
            continue
        elif line.name == "BEGIN":
            inside += 1
        elif line.name == "END":
            inside = max(0, inside - 1)
        elif not inside and line.name in _NAMES:
            entry.append(line)
    if entry is not None:
        yield entry


def _parted(line: str) -> _Line | None:
    found = _LINE.fullmatch(line)
    if found is not None:
        return _Line(found[1].upper(), found[2], found[3])
    # A quote that is not closed.
    said, _, value = line.partition(":")
    name, _, about = said.partition(";")
    return _Line(name.strip().upper(), f";{about}", value) if value else None


def _words(entry: Iterable[_Line]) -> list[str]:
    found = [(line.name, _said(line)) for line in entry]
    found.sort(key=lambda one: _ORDER.index(one[0]) if one[0] in _ORDER else len(_ORDER))
    return [f"{_CALLED.get(name, '')}{text}" for name, text in found if text]


def _said(line: _Line) -> str:
    value = line.value.strip()
    if line.name in {"DTSTART", "DTEND", "DUE"}:
        zone = next((one[1] or one[2] or "" for one in _ZONE.finditer(line.about)), "")
        return f"{_time(value)} {zone}".strip()
    return _ESCAPED.sub(lambda one: "\n" if one[1] in "nN" else one[1], value).strip()


def _time(value: str) -> str:
    if (found := _TIME.fullmatch(value)) is None:
        return value
    day = f"{found[1]}-{found[2]}-{found[3]}"
    return f"{day} {found[4]}:{found[5]}{' UTC' if found[6] else ''}" if found[4] else day
