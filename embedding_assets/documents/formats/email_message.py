"""Mail: the text of a message; attachments are named, not read."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.html import page
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.registry import EXTRA, format_named
from embedding_assets.documents.formats.values import document_metadata, is_unicode
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

_MOST_PARTS: Final = 1_000
_LATIN_1: Final = frozenset({"iso-8859-1", "iso8859-1", "latin1", "latin-1"})
_OF_WINDOWS: Final = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
"""What programs of Windows mean where they say Latin-1, which has control characters there."""


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a message is, under its subject."""
    message = message_from_bytes(file.read(), policy=policy.default)
    if not message.keys():
        raise UnreadableError("is no mail: it has no headers")
    if sum(1 for _ in message.walk()) > _MOST_PARTS:
        raise UnreadableError("has more parts than mail has")
    subject = _header(message, "subject")
    fields = {name: _header(message, name) for name in ("from", "to", "date")}
    names = [_storable(name) for part in message.iter_attachments() if (name := part.get_filename())]
    text = _body(message)
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    metadata = document_metadata(file, subject, {**fields, "attachments": names[:100]})
    yield Document(metadata, text, markdown=False, context_header=metadata.title if subject else "")


def _body(message: EmailMessage) -> str:
    """The plain text of a message, or its HTML where the plain text says nothing."""
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        text = _text(part) if part is not None else ""
        if has_words(text):
            return text
    return ""


def _text(part: MIMEPart) -> str:
    try:
        content = part.get_content()
    except LookupError:
        raise UnreadableError("is in an unknown encoding") from None
    text = normalized_newlines(_storable(content)) if isinstance(content, str) else ""
    if part.get_content_charset() in _LATIN_1:
        text = text.translate(_OF_WINDOWS)
    if part.get_content_subtype() != "html":
        return without_data(text)
    html = format_named("html")
    if html is None or not html.is_installed:
        raise UnreadableError(f"is HTML alone, and needs selectolax to be read: {EXTRA}")
    return page(text)[1]


def _header(message: EmailMessage, name: str) -> str:
    return " ".join(_storable(str(message.get(name, ""))).split())[:1_000]


def _storable(text: str) -> str:
    text = text.replace("\x00", "")
    return text if is_unicode(text) else text.encode("utf-8", "replace").decode()
