"""Raised numbers of Word and PowerPoint: powers of ten and of units, which without a mark are other numbers."""

from __future__ import annotations

import re
from typing import Final

LOOKED_BACK: Final = 20
"""Characters before a raised number by which it is known."""

_POWER: Final = re.compile(
    r"(?<![\w.,'\u2019$\u20ac\u00a3\u00a5])10\^(?:\d|[-+\u2212]\d{1,2})\Z"
    r"|[\u00b7\u00d7*] ?10\^\d{1,2}\Z"
    r"|(?<![^\W\d]|[.'\u2019])(?:[cdkmn\u00b5\u03bc]?m|ft|yd|s)\^(?:[2-4]|[-+\u2212][1-4])\Z"
)


def is_power(behind: str, raised: str) -> bool:
    """Whether a raised text is a power: ``10^6``, ``m^2``; others are cents of a price, or the number of a note.

    Args:
        behind: what it stands behind, at least ``LOOKED_BACK`` characters of it if there are so many.
        raised: the text itself.
    """
    return _POWER.search(f"{behind[-LOOKED_BACK:]}^{raised.strip()[:LOOKED_BACK]}") is not None
