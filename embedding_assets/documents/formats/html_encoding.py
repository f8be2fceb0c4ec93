"""The encoding of a page of HTML, which it may say itself."""

from __future__ import annotations

import codecs
import re
from typing import Final

from embedding_assets.documents.formats.opened import decoded

_CHARSET: Final = re.compile(rb"<meta[^<>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_MEANT: Final = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_NOT_OF_CP1252: Final = b"\x81\x8d\x8f\x90\x9d"
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decoded_page(data: bytes, encoding: str | None) -> str:
    """The text of a page, whose encoding it may say itself.

    Args:
        data: the page.
        encoding: the one that it is said to have.

    Raises:
        UnreadableError: it has another one.
    """
    if encoding:
        return decoded(data, encoding)
    if _is_utf8(data):
        # Whatever the page says: text of another encoding is not valid UTF-8, but in a few bytes.
        return decoded(data, None)
    declared = _CHARSET.search(data[:4_096])
    meant = _meant(declared.group(1).decode()) if declared else None
    if meant == "cp1252" and not data.startswith(_UTF_16):
        data = data.translate(None, _NOT_OF_CP1252)
    try:
        return decoded(data, meant)
    except LookupError:
        return decoded(data, None)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _meant(label: str) -> str | None:
    """The encoding that browsers read under a label (https://encoding.spec.whatwg.org/#names-and-labels)."""
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    # A page that says so in ASCII is not in UTF-16.
    return None if name.startswith(("utf-16", "utf-32")) else _MEANT.get(name, name)
