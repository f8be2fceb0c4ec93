"""Numbers as readers want them."""

from __future__ import annotations


def share(part: float, whole: float) -> str:
    """A percentage that is 100 % only when nothing is missing, and 0 % only when there is nothing."""
    if not whole:
        return "0 %"
    tenths = round(1000 * part / whole)
    if part < whole:
        tenths = min(tenths, 999)
    if part > 0:
        tenths = max(tenths, 1)
    return f"{tenths / 10:.1f} %" if tenths % 10 else f"{tenths // 10} %"


def dollars(usd: float) -> str:
    """To the cent, and below one to two digits."""
    if usd == 0:
        return "$0"
    if usd < 0.0001:
        return "under $0.0001"
    return f"${usd:,.2f}" if usd >= 0.01 else f"${usd:.2g}"


def milliseconds(value: float, unit: str = " ms") -> str:
    """Three digits, and none behind the point from a hundred on."""
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + unit


def rate(value: float) -> str:
    """One decimal below a hundred, none above."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def compact(number: int) -> str:
    """Thousands set off, millions rounded."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.1f} M"


def printable(words: str) -> str:
    """What others wrote, on one line and without what no reader sees.

    Most control characters make an SVG malformed, and some turn the words around.
    """
    return " ".join("".join(c for c in words if c.isprintable() or c.isspace()).split())


def in_short(name: str, most: int) -> str:
    """Both ends of a long name, on one line."""
    name = printable(name)
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[-(most - 1 - head) :]}"


def counted(number: int, noun: str) -> str:
    """With thousands set off; the noun's plural ends in s."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
