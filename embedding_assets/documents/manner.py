"""All that the chunks of a file depend on, besides its name: its bytes, and how they are read and split."""

from __future__ import annotations

import codecs
import hashlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.formats.opened import is_wide

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions
    from embedding_assets.documents.splitting import Splitter
    from embedding_assets.postgres.documents import KnownDocument


_JUDGING: Final = 2
"""Counted up with what is rejected."""


class Manner:
    """How files are read and split, to be compared with how a document was when it was recorded.

    ``ReadOptions.manner`` is a text, of reading alone, that is another one wherever options are. This one covers the
    splitter, too, and knows which other options give the same chunks.

    Args:
        splitter: how texts become chunks.
        read: how files are read.
    """

    def __init__(self, splitter: Splitter, read: ReadOptions) -> None:
        self._read = read
        self._said = _said(splitter, read)
        is_plain = read.encoding is not None and _keeps_ascii(read.encoding)
        self._without_encoding = _said(splitter, replace(read, encoding=None)) if is_plain else None

    def digest(self, content: str) -> str:
        """Of all that the chunks depend on of a file whose bytes have that digest."""
        return _hashed(f"{self._said}{content}")

    def attempt(self, content: str) -> str:
        """What is kept of a reading with rejections: the same one would have them again. A later version may not.

        Args:
            content: digest of the bytes, or whatever else is another one once they are.
        """
        return _hashed(f"{version('embedding-assets')} {_JUDGING} {self.digest(content)}")

    def gives_the_same(self, before: KnownDocument, content: str) -> bool:
        """Whether a document that is complete has the chunks that a file of these bytes would have."""
        if before.digest == self.digest(content):
            return True
        # What could be read without an encoding needs none; but a page, also one in mail, may have named its own.
        if self._without_encoding is None or before.rejected or self._is_page(before.origin):
            return False
        return before.digest == _hashed(f"{self._without_encoding}{content}")

    def _is_page(self, origin: str) -> bool:
        kind = self._read.format_of(PurePosixPath(origin))
        return kind is not None and kind.name in {"html", "email"}


def _said(splitter: Splitter, read: ReadOptions) -> str:
    options = asdict(read)
    if read.encoding is not None:
        options["encoding"] = f"utf-8 or {read.encoding}"
    return json.dumps([splitter.manner, options], sort_keys=True)


def _keeps_ascii(encoding: str) -> bool:
    """Whether a text in ASCII is the same with that encoding named."""
    plain = bytes(range(1, 128))
    if codecs.lookup(encoding).name.startswith("iso2022"):
        return False  # there a few of these characters together mean others
    try:
        return is_wide(encoding) or plain.decode(encoding) == plain.decode("ascii")
    except UnicodeError:
        return False


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
