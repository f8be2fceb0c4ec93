"""The lines of a file, of bounded length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MAX_LINE_CHARACTERS = 1_000_000
"""Longest line, or text of a row, that is no writing: beyond it is data in a text file."""

MAX_WRITING_CHARACTERS = 10_000_000
"""Longest line, or text of a row, at all: a book may be one, and is parsed in memory."""

_MOST_BETWEEN_BLANKS = 40
# With the marks between which Chinese and Japanese are written.
_BLANKS = " \n\t\uff0c\u3002\u3001"

_UTF8_BYTES = 4
_BOM = b"\xef\xbb\xbf"


def read_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """Lines with their number and whether they are too long; of such a line only its quoting is kept."""
    limit = MAX_WRITING_CHARACTERS * _UTF8_BYTES
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) <= MAX_WRITING_CHARACTERS:
            yield number, line, False
            continue
        quotes = line.count(b'"')
        too_long = len(line.decode("utf-8", "replace").rstrip("\r\n")) > MAX_WRITING_CHARACTERS
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(limit)
            quotes += rest.count(b'"')
            too_long = too_long or bool(rest)
        # An odd quote opens or closes a CSV field that other lines belong to.
        yield number, (b'"\n' if quotes % 2 else b"\n") if too_long else line, too_long


def is_writing(text: str) -> bool:
    """Whether a long text is made of words, and not of data such as pictures or numbers in letters."""
    return sum(map(text.count, _BLANKS)) * _MOST_BETWEEN_BLANKS >= len(text)


def normalized_newlines(text: str) -> str:
    """The text with every line ending as ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
