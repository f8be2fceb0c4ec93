"""EPUB: the chapters of a book, as Markdown."""

from __future__ import annotations

import io
import logging
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.formats.html import page
from embedding_assets.documents.formats.notebook import joined_units
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, decoded
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words
from embedding_assets.formatting import counted

logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 100_000_000
_DECLARES: Final = re.compile(rb"<!ENTITY|<!DOCTYPE[^\[>]*\[")
"""Also an internal subset; a type alone declares nothing, since what it refers to is never fetched."""
_CONTAINER: Final = "META-INF/container.xml"


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a book is; a book that is protected against copying is rejected."""
    data = io.BytesIO(file.read())
    check_package(data, doctype=True)
    try:
        with zipfile.ZipFile(data) as book:
            if "META-INF/encryption.xml" in book.namelist() and "META-INF/rights.xml" in book.namelist():
                raise UnreadableError("is protected against copying")
            title, author, names = _contents(book)
            there = set(book.namelist())
            texts = list(_chapters(book, [name for name in names if name in there]))
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, RuntimeError, EOFError):
        raise UnreadableError("is a damaged or cut EPUB") from None
    if len(texts) < len(names):
        said = f"left out {counted(len(names) - len(texts), 'chapter')} that the book lists and does not have"
        logger.warning(said, extra={"document": file.source})
    text, starts = joined_units(texts)
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    metadata = document_metadata(file, title, {"author": author})
    yield Document(metadata, text, markdown=True, places=Places("chapter", starts))


def _contents(book: zipfile.ZipFile) -> tuple[str, str, list[str]]:
    """Title, author, and the files of the chapters in their order."""
    container = _xml(book, _CONTAINER)
    rootfile = container.find(".//{*}rootfile")
    path = rootfile.get("full-path", "") if rootfile is not None else ""
    package = _xml(book, path)
    files = {item.get("id"): item.get("href", "") for item in package.iterfind(".//{*}manifest/{*}item")}
    order = [files.get(item.get("idref"), "") for item in package.iterfind(".//{*}spine/{*}itemref")]
    folder = posixpath.dirname(path)
    names = [posixpath.normpath(posixpath.join(folder, unquote(name))) for name in order if name]
    return package.findtext(".//{*}title") or "", package.findtext(".//{*}creator") or "", names


def _xml(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    data = book.read(name)
    if _DECLARES.search(data.replace(b"\x00", b"")):
        raise UnreadableError("declares entities of its own, as bombs do")
    return ElementTree.fromstring(data)  # noqa: S314 (nothing is declared in it)


def _chapters(book: zipfile.ZipFile, names: list[str]) -> Iterator[str]:
    left = _MOST_BYTES
    for name in names:
        left -= book.getinfo(name).file_size
        if left < 0:
            raise UnreadableError("unpacks to more than a book has")
        yield page(decoded(book.read(name), None), is_book=True)[1]
