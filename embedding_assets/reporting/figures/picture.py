"""A picture as text: what a page, and Dagster's Markdown, can show without fetching anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

# All of them stand out from white and from near-black alike, see ``Picture``.
INK: Final = "#73787f"
INK_ON_DARK: Final = "#a3a9b1"
"""Where the reader's system, or the page around the image, says that it is dark; INK is legible there, but dim."""

BLUE: Final = "#2f7fe6"
GREEN: Final = "#1f9d6b"
AMBER: Final = "#d9730d"
RED: Final = "#d64545"
SERIES: Final = (BLUE, AMBER, GREEN, "#8e63d9", "#d1559b", "#0f95a5", "#8f8a1c", "#a2694a")
OTHERS: Final = "#80858c"


def of_limit(*, is_held: bool) -> str:
    """Colour of a limit: red only where it is not held."""
    return INK if is_held else RED


INLINE_CHARACTERS: Final = 999
"""Dagster's UI shows Markdown of up to so many characters at once, longer one behind "Show Markdown"
(tried with 1.13.27; in the metadata of checks it is always behind that link)."""

# Left as they are, for brevity. Not among them: what ends the address in Markdown or HTML (< > " line ends), what
# Markdown reads within an address (& \ `), what is none of a URL's (# %).
_SAFE: Final = " !'()*+,-./:;=?@_~$"


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG image and its words.

    SVG, because it has the size it is drawn for on any screen and stays sharp; the UI shows a PNG at one CSS pixel a
    pixel. Colours must do on white and on near-black: the UI's theme is its user's, and nothing in an image learns of
    it.

    Attributes:
        svg: the image's source.
        alt: what it shows, for readers who cannot see it.
        caption: how to read it, for readers who see it for the first time.
    """

    svg: str
    alt: str
    caption: str = ""

    @property
    def data_uri(self) -> str:
        """The image as an address. Escaped rather than base64: a third shorter."""
        return "data:image/svg+xml," + quote(" ".join(self.svg.split()), safe=_SAFE)

    @property
    def markdown(self) -> str:
        """The image in Markdown."""
        words = re.sub(r"[^\w ,.:;%$()@/+=-]", "", self.alt)
        return f"![{words}](<{self.data_uri}>)"


def gallery(pictures: Iterable[Picture]) -> str:
    """Pictures one below the other, each above its caption, in Markdown."""
    return "\n\n".join(f"{picture.markdown}\n\n{picture.caption}".rstrip() for picture in pictures)
