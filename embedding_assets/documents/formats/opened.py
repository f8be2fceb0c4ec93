"""A file that is read: its bytes, unpacked and bounded, and its text."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

from embedding_assets.documents.lines import MAX_LINE_CHARACTERS, normalized_newlines
from embedding_assets.documents.rejection import EMPTY, NOT_UTF8, Rejection, too_long

if TYPE_CHECKING:
    from embedding_assets.documents.formats.options import ReadOptions

MAX_DOCUMENT_BYTES: Final = 100_000_000
"""Largest file that is read as one document, unpacked; rows are read one by one from files of any size."""

_SMALL_BYTES: Final = 65_536
_MOST_RATIO: Final = 200
_UNSUSPICIOUS_BYTES: Final = 100_000_000

_BEGINNING: Final = 1_000
"""Bytes by which UTF-16 is guessed, but only to be named."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class UnreadableError(Exception):
    """The reason why a file, or a line of it, cannot be read; it holds no text of the file."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class OpenedFile:
    """A file that is read.

    Attributes:
        path: where it lies.
        source: the name by which it is known.
        options: how it is to be read.
    """

    path: Path
    source: str
    options: ReadOptions

    @property
    def name(self) -> PurePosixPath:
        """Its name, without the ``.gz`` of one that is packed."""
        name = PurePosixPath(self.source)
        return name.with_suffix("") if self.is_packed else name

    @property
    def is_packed(self) -> bool:
        """Whether it is packed by gzip."""
        return self.path.suffix.lower() == ".gz"

    def rejected(self, reason: str, line: int | None = None) -> Rejection:
        """A rejection of the file, or of a line of it."""
        return Rejection(self.source, line, reason)

    @contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """Its bytes, unpacked.

        Raises:
            UnreadableError: what is packed is damaged, cut off, or so much that it must be a bomb.
        """
        with self.path.open("rb") as raw:
            if not self.is_packed:
                yield raw
                return
            size = self.path.stat().st_size
            with gzip.GzipFile(fileobj=raw) as packed, io.BufferedReader(_Bounded(packed, size)) as stream:
                yield stream

    def read(self) -> bytes:
        """All of its bytes.

        Raises:
            UnreadableError: they are none, or too many.
        """
        with self.stream() as stream:
            # Room for the largest one takes longer to make than a small one takes to read.
            data = stream.read(_SMALL_BYTES)
            if len(data) == _SMALL_BYTES:
                data += stream.read(MAX_DOCUMENT_BYTES + 1 - _SMALL_BYTES)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise UnreadableError(f"is larger than {MAX_DOCUMENT_BYTES // 1_000_000} MB; divide it")
        if not data:
            raise UnreadableError(EMPTY)
        return data

    def text(self) -> str:
        """Its text, with ``\\n`` as its only line ending.

        Raises:
            UnreadableError: it is blank, in another encoding, or not text.
        """
        data = self.read()
        text = decoded(data, self.options.encoding)
        if "\x00" in text:
            line = text.count("\n", 0, text.index("\x00")) + 1
            raise UnreadableError(f"contains a NUL character{utf16_hint(data)}", line)
        if not text.strip():
            raise UnreadableError(f"{EMPTY} or blank" if text else EMPTY)
        return text

    def utf8_lines(self, stream: IO[bytes]) -> io.BufferedReader[Any]:
        """The stream in UTF-8, if its beginning names another encoding, or the options do of what is not UTF-8."""
        buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
        begins = buffered.peek(_BEGINNING)[:_BEGINNING]
        marked = next((name for mark, name in _MARKS if begins.startswith(mark)), None)
        if not marked and self.options.encoding is None and (hint := utf16_hint(begins)):
            raise UnreadableError(f"contains a NUL character{hint}", 1)
        name = marked or self._encoding
        if codecs.lookup(name).name in {"utf-8", "ascii"}:
            return buffered
        return io.BufferedReader(_Transcoded(buffered, name))

    @cached_property
    def _encoding(self) -> str:
        """Of its lines, where no mark names it; found out by reading all of them once, if that makes a difference."""
        encoding = self.options.encoding
        if encoding is None:
            return "utf-8"
        with self.stream() as stream:
            return encoding_of(iter(lambda: stream.read(65_536), b""), encoding)


def decoded(data: bytes, encoding: str | None) -> str:
    """Text of bytes by their mark, as UTF-8, or by the encoding named; with ``\\n`` as its only line ending.

    Raises:
        UnreadableError: it is not that; with the line.
    """
    marked = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), None)
    name = marked[1] if marked else encoding_of([data], encoding) if encoding else "utf-8"
    try:
        text = data.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        is_default = name == "utf-8" and encoding is None
        raise UnreadableError(wrong_encoding("utf-8") if is_default else wrong_encoding(name), line) from None
    return normalized_newlines(text)


def encoding_of(pieces: Iterable[bytes], named: str) -> str:
    """UTF-8 of bytes that are, whatever encoding is named for those that are not.

    What could be either is taken as named: ASCII alone may be text in an encoding such as ISO-2022-JP. But not in
    UTF-16, where at least the ends of lines have bytes that are zero.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_ascii = not is_wide(named)
    try:
        # What precedes the damage of a packed file is read.
        with suppress(UnreadableError):
            for piece in pieces:
                if b"\x00" in piece:
                    return named
                is_ascii = is_ascii and piece.isascii()
                decoder.decode(piece)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return named
    return named if is_ascii else "utf-8"


def utf16_hint(data: bytes) -> str:
    """What to say further of bytes with NUL characters, if they may be UTF-16 without a mark; else nothing."""
    half = min(len(data), _BEGINNING) // 2
    even, odd = data[: 2 * half : 2].count(0), data[1 : 2 * half : 2].count(0)
    if not half or max(even, odd) * 4 < half * 3 or min(even, odd) * 4 > half:
        return ""
    return f"; --encoding {'utf-16-be' if even > odd else 'utf-16-le'}?"


def is_wide(encoding: str) -> bool:
    """Whether each character takes two or four bytes."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def wrong_encoding(name: str) -> str:
    """The reason why bytes that are not of an encoding are not read."""
    if name == "utf-8":
        return f"{NOT_UTF8}; --encoding says what it is, as in --encoding cp1252"
    return f"is not valid {name}"


def check_lines(text: str) -> None:
    """Refuse a text with a line that no person wrote, or that is as long as many books.

    Raises:
        UnreadableError: a line is too long.
    """
    at = 0
    while len(text) - at > MAX_LINE_CHARACTERS:
        last = text.rfind("\n", at, at + MAX_LINE_CHARACTERS + 1)
        if last < 0:
            last = end if (end := text.find("\n", at)) >= 0 else len(text)
            if reason := too_long(text[at:last]):
                raise UnreadableError(reason, text.count("\n", 0, at) + 1)
        at = last + 1


class _Bounded(io.RawIOBase):
    """What gzip unpacks, as long as it may be a file of somebody."""

    def __init__(self, packed: gzip.GzipFile, size: int) -> None:
        self._packed = packed
        self._most = max(_UNSUSPICIOUS_BYTES, size * _MOST_RATIO)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = self._packed.read(len(view))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise UnreadableError("is a damaged or cut gzip file") from None
        self._read += len(data)
        if self._read > self._most:
            raise UnreadableError(f"unpacks to more than {_MOST_RATIO} times its size")
        view[: len(data)] = data
        return len(data)


class _Transcoded(io.RawIOBase):
    """Bytes of another encoding, as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._waiting = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._waiting and not self._ended:
            data = self._stream.read(65_536)
            self._ended = not data
            try:
                # Lone surrogates are refused later, with their line.
                self._waiting = self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError:
                raise UnreadableError(wrong_encoding(self._encoding)) from None
        taken = self._waiting[: len(view)]
        self._waiting = self._waiting[len(taken) :]
        view[: len(taken)] = taken
        return len(taken)


_DATA = r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*,"
_PICTURE = re.compile(rf"!\[([^\[\]]{{0,2000}})\]\([ \t]*<?{_DATA}[^)\s<>]*>?[^()\n]*\)")
_REFERENCE = re.compile(rf"^([ ]{{0,3}}\[[^\[\]\n]{{1,999}}\]:)[ \t]*<?{_DATA}\S*.*$", re.MULTILINE)
_IMAGE = re.compile(r"<img\b(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+>|<img\b[^<>]*>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_LONG_DATA = re.compile(rf"({_DATA})[A-Za-z0-9+/=%_-]{{100,}}")


def without_data(text: str) -> str:
    """A text whose pictures that are data in it have given way to what is said about them."""
    if "data:" not in text:
        return text
    text = _PICTURE.sub(r"\1", text)
    text = _REFERENCE.sub(r"", text)
    text = _IMAGE.sub(lambda found: _alt(found.group()) if "data:" in found.group() else found.group(), text)
    return _LONG_DATA.sub(r"\1…", text)


def _alt(tag: str) -> str:
    found = _ALT.search(tag)
    return (found.group(1) or found.group(2) or "") if found else ""
