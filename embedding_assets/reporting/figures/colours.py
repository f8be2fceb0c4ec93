"""Colours of the figures."""

from __future__ import annotations

from typing import Final

# All of them stand out from white and from near-black alike, see Picture.
INK: Final = "#73787f"
BLUE: Final = "#2f7fe6"
GREEN: Final = "#1f9d6b"
AMBER: Final = "#d9730d"
RED: Final = "#d64545"
SERIES: Final = (BLUE, AMBER, GREEN, "#8e63d9", "#d1559b", "#0f95a5", "#8f8a1c", "#a2694a")
OTHERS: Final = "#80858c"
