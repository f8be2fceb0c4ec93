"""Numbers and names as readers see them: the only place that turns dollars, durations, sizes and moments into words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it, or cannot write: control characters, directions of text, surrogates."""

_PICTURES = {**{chr(code): chr(0x2400 + code) for code in range(0x20)}, "\x7f": "\u2421"}


def visible(text: str, keep: str = "") -> str:
    """A text in one line, of which a terminal obeys nothing: control characters as pictures of them.

    Args:
        text: whatever it is, such as a name from a file system.
        keep: characters to leave as they are.
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else _PICTURES.get(found[0], "\ufffd"), text)


def dollars(amount: Decimal | float) -> str:
    """Dollars with two decimals, or as many more as two digits of a smaller amount need: ``$0.05``, ``$0.00012``."""
    return dollar_column([amount])[0]


def dollar_column(amounts: Sequence[Decimal | float | None]) -> list[str]:
    """Amounts that are read together, with as many decimals, 2 to 8, as the smallest of them needs; None is empty."""
    least = min((float(amount) for amount in amounts if amount), default=1.0)
    decimals = next((decimals for decimals in range(2, 8) if least >= 10.0 ** (1 - decimals)), 8)
    cells = ["" if amount is None else f"${amount:,.{decimals}f}" for amount in amounts]
    while decimals > 2 and all(cell.endswith("0") for cell in cells if cell):
        decimals -= 1
        cells = [cell[:-1] for cell in cells]
    return cells


def duration(seconds: float) -> str:
    """Seconds up to 100, then minutes, then hours; one decimal below ten of them."""
    value, unit = (
        (seconds, "s") if seconds < 100 else (seconds / 60, "min") if seconds < 6000 else (seconds / 3600, "h")
    )
    return f"{value:.1f} {unit}" if 0 < value < 10 else f"{value:,.0f} {unit}"


def milliseconds(value: float, unit: str = " ms") -> str:
    """Three digits, and no decimals from a hundred on."""
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + unit


def moment(value: datetime) -> str:
    """A time to the minute, in UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def share(part: float, whole: float = 1.0) -> str:
    """A percentage with at most one decimal: 100% only when nothing is missing, 0% only when there is nothing."""
    if not whole:
        return "0%"
    tenths = round(1000 * part / whole)
    if part < whole:
        tenths = min(tenths, 999)
    if part > 0:
        tenths = max(tenths, 1)
    return f"{tenths / 10:.1f}%" if tenths % 10 else f"{tenths // 10}%"


def meter(part: float, width: int, colour: str) -> str:
    """A bar of ``width`` characters in console markup, full only when nothing is missing; legible without colours."""
    filled = width if part >= 1 else min(width - 1, round(part * width))
    return f"[{colour}]{'━' * filled}[/][dim]{'╌' * (width - filled)}[/]"


def megabytes(size_bytes: float) -> str:
    """A size in MB (10⁶ bytes), one decimal below a hundred; in kB if that would show nothing of it."""
    if 0 < size_bytes < 100_000:
        return f"{max(1, round(size_bytes / 1000))} kB"
    return f"{rate(size_bytes / 1e6)} MB"


def rate(value: float) -> str:
    """One decimal below a hundred, none above."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def by_device(device: str, threads: int | None = None) -> str:
    """The device of a run and its threads, where those are known, as the end of a sentence."""
    if device == "api":
        return "by the API"
    return f"on {printable(device)}" + (f", {counted(threads, 'thread')}" if threads else "")


def counted(number: int, noun: str) -> str:
    """A number with its noun, whose plural ends in s."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def compact(number: int) -> str:
    """A number with its thousands set off, millions rounded."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.1f} M"


def printable(words: str) -> str:
    """Words of others on one line, without what no reader sees.

    Most control characters make an SVG malformed, and some turn the words around.
    """
    return " ".join("".join(c for c in words if c.isprintable() or c.isspace()).split())


def shortened(name: str, most: int) -> str:
    """Both ends of a long name, on one line of at most ``most`` characters."""
    name = printable(name)
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[-(most - 1 - head) :]}"
