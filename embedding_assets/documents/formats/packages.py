"""Documents that are ZIP files of XML: Word, PowerPoint, Excel, EPUB."""

from __future__ import annotations

import io
import zipfile
from typing import Final

from embedding_assets.documents.formats.opened import UnreadableError

_MOST_ENTRIES: Final = 20_000
_MOST_XML_BYTES: Final = 300_000_000
_XML_SUFFIXES: Final = (".xml", ".rels", ".opf", ".ncx")
_HEAD_BYTES: Final = 4_096


def check_package(data: io.BytesIO, *, doctype: bool = False) -> None:
    """Refuse what unpacks to more than a document does, or declares entities of its own.

    Args:
        data: the file.
        doctype: whether its XML may declare its type, as that of EPUB does.

    Raises:
        UnreadableError: it is damaged, a bomb, encrypted, or no such file.
    """
    if data.getvalue()[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise UnreadableError("is encrypted, or of an old format of Office; save it without a password, in the new one")
    try:
        with zipfile.ZipFile(data) as package:
            entries = package.infolist()
            size = sum(entry.file_size for entry in entries if _is_xml(entry.filename))
            if len(entries) > _MOST_ENTRIES or size > _MOST_XML_BYTES:
                raise UnreadableError("unpacks to more than a document has")
            for entry in entries:
                if _is_xml(entry.filename):
                    _check_xml(package, entry, doctype=doctype)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        raise UnreadableError("is a damaged or cut file") from None
    data.seek(0)


def _check_xml(package: zipfile.ZipFile, entry: zipfile.ZipInfo, *, doctype: bool) -> None:
    with package.open(entry) as stream:
        head = stream.read(_HEAD_BYTES).replace(b"\x00", b"")
    if b"<!ENTITY" in head or (b"<!DOCTYPE" in head and not doctype):
        raise UnreadableError("declares entities of its own, as bombs do")


def _is_xml(name: str) -> bool:
    return name.lower().endswith(_XML_SUFFIXES)
