"""The words of a calendar entry (iCalendar), as mail with an invitation has them."""

from __future__ import annotations

import re
from typing import Final

_FOLD: Final = re.compile(r"\r?\n[ \t]")
_ENTRY: Final = re.compile(r"^BEGIN:(VEVENT|VTODO|VJOURNAL)\s*$(.*?)^END:\1\s*$", re.MULTILINE | re.DOTALL)
_LINE: Final = re.compile(r"^(SUMMARY|DTSTART|DTEND|DUE|LOCATION|DESCRIPTION|COMMENT)(?:;[^:\n]*)?:(.*)$", re.MULTILINE)
_ESCAPED: Final = re.compile(r"\\([nN\\;,])")
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_CALLED: Final = {"DTSTART": "Start: ", "DTEND": "End: ", "DUE": "Due: ", "LOCATION": "Location: "}


def calendar_words(calendar: str) -> str:
    """What its entries say: what is planned, when, where, and what is written about it."""
    entries = (found[2] for found in _ENTRY.finditer(_FOLD.sub("", calendar)))
    return "\n\n".join("\n".join(_lines(entry)) for entry in entries)


def _lines(entry: str) -> list[str]:
    # An alarm within it has a description of its own.
    own = entry.partition("BEGIN:VALARM")[0]
    order = list(_CALLED)
    found = [(name, _words(name, value)) for name, value in _LINE.findall(own)]
    found.sort(key=lambda one: (one[0] != "SUMMARY", order.index(one[0]) if one[0] in order else len(order)))
    return [f"{_CALLED.get(name, '')}{text}" for name, text in found if text]


def _words(name: str, value: str) -> str:
    value = value.strip()
    if name in {"DTSTART", "DTEND", "DUE"} and (found := _TIME.fullmatch(value)):
        day = f"{found[1]}-{found[2]}-{found[3]}"
        return f"{day} {found[4]}:{found[5]}{' UTC' if found[6] else ''}" if found[4] else day
    return _ESCAPED.sub(lambda one: "\n" if one[1] in "nN" else one[1], value).strip()
