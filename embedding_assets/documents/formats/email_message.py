"""Mail: the text of a message, with messages that it forwards; attachments are named, not read."""

from __future__ import annotations

import logging
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.errors import InvalidHeaderDefect, MessageError
from email.header import decode_header, make_header
from email.message import MIMEPart
from typing import Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.calendar_text import calendar_words
from embedding_assets.documents.formats.html import page
from embedding_assets.documents.formats.html_encoding import decoded_page
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, decoded, without_data
from embedding_assets.documents.formats.registry import EXTRA, format_named
from embedding_assets.documents.formats.values import document_metadata, is_unicode
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

logger = logging.getLogger(__name__)

_MOST_PARTS: Final = 1_000
_NOT_SAID: Final = frozenset({None, "us-ascii", "ascii"})
_LATIN_1: Final = frozenset({"iso-8859-1", "iso8859-1", "latin1", "latin-1"})
_TEXTS: Final = frozenset({"text/plain", "text/html"})
_CALENDAR: Final = "text/calendar"
_BOUNDARY: Final = re.compile(
    rb"^--(?=[ \t-]*[^\s-])([^\r\n]{1,200}?)[ \t]*\r?\n(?=Content-[A-Z-]+:)", re.MULTILINE | re.IGNORECASE
)
"""Not a line of dashes, as it stands above signatures and quoted mail."""
_BEFORE_PARTS: Final = re.compile(
    rb"\s*(?:(?=[^\r\n]*\b(?:MIME|multi-?part)\b)[^\r\n]++(?:\r?\n[^\r\n]++)*+\s*)?", re.IGNORECASE
)
"""Nothing, or a paragraph for programs that know no parts, whose first line says so."""
_OF_WINDOWS: Final = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
"""What programs of Windows mean where they say Latin-1, which has control characters there."""


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a message is, under its subject."""
    message = message_from_bytes(file.read().removeprefix(BOM_UTF8).lstrip(b"\r\n"), policy=policy.default)
    if not message.keys():
        raise UnreadableError("is no mail: it has no headers")
    body = _with_parts(message)
    if sum(1 for _ in body.walk()) > _MOST_PARTS:
        raise UnreadableError("has more parts than mail has")
    subject = _header(message, "subject")
    fields = {name: _header(message, name) for name in ("from", "to", "date")}
    names = [name for part in body.iter_attachments() if (name := _name(part))]
    reading = _Reading(file.options.encoding)
    text = "\n\n".join(_texts_of(body, reading))
    check_lines(text)
    if reading.unread and not has_words(text):
        raise reading.unread[0]
    if reading.unread:
        logger.warning("left out a part of mail that %s", reading.unread[0].reason, extra={"document": file.source})
    if not has_words(text):
        raise UnreadableError(NOTHING)
    metadata = document_metadata(file, subject, {**fields, "attachments": names[:100]})
    yield Document(metadata, text, markdown=False, context_header=metadata.title if subject else "")


@dataclass(slots=True)
class _Reading:
    """How a message is read.

    Attributes:
        encoding: of texts that do not say theirs and are not UTF-8.
        unread: why parts cannot be read.
    """

    encoding: str | None
    unread: list[UnreadableError] = field(default_factory=list)


def _texts_of(message: MIMEPart, reading: _Reading) -> list[str]:
    """The texts of a message in their order, as mail with pictures in between or with the footer of a list has several.

    Those with a file's name are enclosed, unless there is no other; so is a calendar.

    Args:
        message: or a part that is one.
        reading: takes why a part cannot be read.
    """
    return list(_texts(message, reading)) or list(_texts(message, reading, with_files=True))


def _texts(part: MIMEPart, reading: _Reading, *, with_files: bool = False) -> Iterator[str]:
    """Those of a part; of alternatives it is the plain one, or another where that says nothing."""
    part = _with_parts(part)
    kind = part.get_content_type()
    if part.is_attachment():
        return
    if kind == "message/rfc822":
        for message in part.iter_parts():
            yield from _forwarded(message, reading)
    elif kind == "multipart/related":
        yield from _texts(_root(part), reading, with_files=with_files)
    elif kind == "multipart/alternative":
        ways = sorted(part.iter_parts(), key=lambda way: way.get_content_type() != "text/plain")
        found = (list(_texts(way, reading, with_files=with_files)) for way in ways)
        yield from next(filter(None, found), ())
    elif part.is_multipart():
        for inner in part.iter_parts():
            yield from _texts(inner, reading, with_files=with_files)
    elif (kind in _TEXTS and not part.get_filename()) or (with_files and kind in {*_TEXTS, _CALENDAR}):
        yield from _own_text(part, reading)


def _with_parts(part: MIMEPart) -> MIMEPart:
    """A part; of one that says to have parts, and not where they begin, those that are there, or all of it as text."""
    if part.get_content_maintype() != "multipart" or part.is_multipart():
        return part
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return part
    found = _BOUNDARY.search(content)
    if found is not None and not _BEFORE_PARTS.fullmatch(content, 0, found.start()):
        found = None  # what stands before parts is not read
    kind = "text/plain"
    if found is not None:
        boundary = found[1].decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')
        kind = f'{part.get_content_type()}; boundary="{boundary}"'
    head = f"Content-Type: {kind}\nContent-Transfer-Encoding: 8bit\n\n".encode("latin-1")
    made = message_from_bytes(head + content, policy=policy.default)
    if found is not None and not made.is_multipart():
        made.set_type("text/plain")
    return made


def _root(part: MIMEPart) -> MIMEPart:
    """What the others are of, as pictures of a page: the part that it names, or the first."""
    parts: list[MIMEPart] = list(part.iter_parts())
    named = part.get_param("start")
    return next((one for one in parts if one.get("content-id") == named), parts[0]) if parts else MIMEPart()


def _own_text(part: MIMEPart, reading: _Reading) -> Iterator[str]:
    try:
        text = _text(part, reading.encoding)
    except UnreadableError as error:
        # Without its line, which is one of the part.
        reading.unread.append(UnreadableError(error.reason))
        return
    if has_words(text):
        yield text


def _forwarded(message: MIMEPart, reading: _Reading) -> Iterator[str]:
    texts = _texts_of(message, reading)
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


def _text(part: MIMEPart, encoding: str | None) -> str:
    is_page = part.get_content_subtype() == "html"
    text = normalized_newlines(_storable(_content(part, encoding, is_page=is_page)))
    if part.get_content_charset() in _LATIN_1:
        text = text.translate(_OF_WINDOWS)
    if part.get_content_type() == _CALENDAR:
        return calendar_words(text)
    if not is_page:
        return without_data(text)
    html = format_named("html")
    if html is None or not html.is_installed:
        raise UnreadableError(f"is HTML alone, and needs selectolax to be read: {EXTRA}")
    return page(text)[1]


def _content(part: MIMEPart, encoding: str | None, *, is_page: bool) -> str:
    """What a part holds; where it is not in the encoding of mail that says nothing, it is read as a file would be."""
    if part.get_content_charset() in _NOT_SAID:
        data = part.get_payload(decode=True)
        if isinstance(data, bytes) and not data.isascii():
            return decoded_page(data, encoding) if is_page else decoded(data, encoding)
    try:
        content = part.get_content()
    except LookupError:
        content = _in_unknown_encoding(part.get_payload(decode=True))
    return content if isinstance(content, str) else ""


def _in_unknown_encoding(data: object) -> str:
    """What is UTF-8 whatever it says, as mail that says ``unknown-8bit`` is."""
    try:
        return decoded(data, None) if isinstance(data, bytes) else ""
    except UnreadableError:
        raise UnreadableError("is in an unknown encoding") from None


def _header(message: MIMEPart, name: str) -> str:
    raw = _raw(message, name)
    try:
        found = message.get(name, "")
        value = str(found)
        if any(isinstance(defect, InvalidHeaderDefect) for defect in getattr(found, "defects", ())):
            # Of addresses parted by semicolons, as Outlook shows them, only the first is one.
            value = str(make_header(decode_header(_in_utf8(raw))))
    except (LookupError, ValueError, AttributeError, TypeError, MessageError):
        # The parser of addresses fails at some that are none: as it is written, then.
        value = raw
    if "\ufffd" in value and "=?" not in raw:
        # In UTF-8, as it may be, although it does not say so.
        value = _in_utf8(raw)
    return " ".join(_storable(value).split())[:1_000]


def _raw(message: MIMEPart, name: str) -> str:
    return next((str(raw) for key, raw in message.raw_items() if key.lower() == name), "")


def _in_utf8(raw: str) -> str:
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _storable(text: str) -> str:
    text = text.replace("\x00", "")
    return text if is_unicode(text) else text.encode("utf-8", "replace").decode()
