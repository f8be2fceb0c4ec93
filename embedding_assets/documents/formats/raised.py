"""Raised numbers: exponents of ten and of units, which without a mark are other numbers, and the numbers of notes."""

from __future__ import annotations

import re
from typing import Final

RAISED: Final = re.compile(r"[-+\u2212]?\d{1,4}(?:\s?[,;\u2013-]\s?\d{1,4})*")
"""What is raised behind a word or a number: an exponent, or the numbers of notes; it is written behind ``^``."""
_TEN: Final = re.compile(
    r"(?:(?P<times>(?:[\u00d7\u00b7\u22c5*]|(?<![^\W\d_])x)\s?)|(?<![\d.,:\w])(?<![$\u20ac\u00a3\u00a5])(?<![$\u20ac\u00a3\u00a5]\s))10"
)
_UNIT: Final = re.compile(r"(?<![^\s\d(/\u00b7\u22c5])(?:[kcdmn\u00b5\u03bc]?m|ft)|(?<=/)s")
_LONGEST_BASE: Final = 6
_EXPONENT: Final = re.compile(r"[-+\u2212]?\d|[-+\u2212]\d{2,3}")
_LONG_EXPONENT: Final = re.compile(r"[-+\u2212]?\d{1,3}")
_OF_UNIT: Final = re.compile(r"[23]|[-\u2212][123]")
LOOKED_BACK: Final = 12
"""Characters before what is raised by which it is known."""


def is_power(before: str, raised: str) -> bool:
    """Whether a raised number is an exponent for sure: of ten, or of a unit of length or acceleration.

    Anything else may be a note, or the cents of a price.

    Args:
        before: the end of the text before it, ``LOOKED_BACK`` characters of it or all.
        raised: the number.
    """
    raised = raised.strip()
    for at in range(max(0, len(before) - _LONGEST_BASE), len(before)):
        if ten := _TEN.fullmatch(before, at):
            return (_LONG_EXPONENT if ten["times"] else _EXPONENT).fullmatch(raised) is not None
        if _UNIT.fullmatch(before, at):
            return _OF_UNIT.fullmatch(raised) is not None
    return False
