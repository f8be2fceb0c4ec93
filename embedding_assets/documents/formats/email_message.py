"""Mail: the text of a message, with messages that it forwards; attachments are named, not read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import MIMEPart
from typing import Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.html import page
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.registry import EXTRA, format_named
from embedding_assets.documents.formats.values import document_metadata, is_unicode
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

logger = logging.getLogger(__name__)

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
    names = [name for part in message.iter_attachments() if (name := _name(part))]
    unread: list[UnreadableError] = []
    text = "\n\n".join(_texts_of(message, unread))
    check_lines(text)
    if unread and not has_words(text):
        raise unread[0]
    if unread:
        logger.warning("left out a part of mail that %s", unread[0].reason, extra={"document": file.source})
    if not has_words(text):
        raise UnreadableError(NOTHING)
    metadata = document_metadata(file, subject, {**fields, "attachments": names[:100]})
    yield Document(metadata, text, markdown=False, context_header=metadata.title if subject else "")


def _texts_of(message: MIMEPart, unread: list[UnreadableError]) -> list[str]:
    """The texts of a message in their order, as mail with pictures in between or with the footer of a list has several.

    Those with a file's name are enclosed, unless there is no other.

    Args:
        message: or a part that is one.
        unread: takes why a part cannot be read.
    """
    return list(_texts(message, unread)) or list(_texts(message, unread, with_files=True))


def _texts(part: MIMEPart, unread: list[UnreadableError], *, with_files: bool = False) -> Iterator[str]:
    """Those of a part; of alternatives it is the plain one, or another where that says nothing."""
    kind = part.get_content_type()
    if part.is_attachment():
        return
    if kind == "message/rfc822":
        for message in part.iter_parts():
            yield from _forwarded(message, unread)
    elif kind == "multipart/related":
        yield from _texts(_root(part), unread, with_files=with_files)
    elif kind == "multipart/alternative":
        ways = sorted(part.iter_parts(), key=lambda way: way.get_content_type() != "text/plain")
        found = (list(_texts(way, unread, with_files=with_files)) for way in ways)
        yield from next(filter(None, found), ())
    elif part.is_multipart():
        for inner in part.iter_parts():
            yield from _texts(inner, unread, with_files=with_files)
    elif kind in {"text/plain", "text/html"} and (with_files or not part.get_filename()):
        yield from _own_text(part, unread)


def _root(part: MIMEPart) -> MIMEPart:
    """What the others are of, as pictures of a page: the part that it names, or the first."""
    parts: list[MIMEPart] = list(part.iter_parts())
    named = part.get_param("start")
    return next((one for one in parts if one.get("content-id") == named), parts[0]) if parts else MIMEPart()


def _own_text(part: MIMEPart, unread: list[UnreadableError]) -> Iterator[str]:
    try:
        text = _text(part)
    except UnreadableError as error:
        unread.append(error)
        return
    if has_words(text):
        yield text


def _forwarded(message: MIMEPart, unread: list[UnreadableError]) -> Iterator[str]:
    texts = _texts_of(message, unread)
    if texts:
        headers = ((name, _header(message, name.lower())) for name in ("From", "Date", "Subject"))
        yield "\n".join(f"{name}: {value}" for name, value in headers if value)
    yield from texts


def _name(attachment: MIMEPart) -> str:
    """What an attachment is called; of a message without a name its subject."""
    name = attachment.get_filename()
    if name is None and attachment.get_content_type() == "message/rfc822" and attachment.is_attachment():
        name = next((_header(message, "subject") for message in attachment.iter_parts()), "")
    return _storable(name or "")


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


def _header(message: MIMEPart, name: str) -> str:
    try:
        value = str(message.get(name, ""))
    except (LookupError, ValueError, AttributeError, TypeError, MessageError):
        # The parser of addresses fails at some that are none: as it is written, then.
        value = next((str(raw) for key, raw in message.raw_items() if key.lower() == name), "")
    return " ".join(_storable(value).split())[:1_000]


def _storable(text: str) -> str:
    text = text.replace("\x00", "")
    return text if is_unicode(text) else text.encode("utf-8", "replace").decode()
