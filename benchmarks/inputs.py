"""Files of many formats with real text in them; the same environment and the same numbers give the same files."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import random
import re
import textwrap
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

from embedding_assets.cli.corpus import installed_documents
from embedding_assets.documents.markdown import markdown_headings

ROW_CHARACTERS = 900
FIELDS = ("id", "title", "text")

_SHORTEST, _LONGEST = 100, 8_000
_FILES_IN_FOLDER = 1_000
_ROWS_FILE_BYTES = 500_000
_VECTORS = 50
_PAGE_LINES, _PAGE_COLUMNS = 54, 92
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Article:
    """A text with headings, drawn from the documentation that this environment carries.

    Attributes:
        title: with its number, so that no two are the same.
        sections: heading and Markdown of each.
    """

    title: str
    sections: tuple[tuple[str, str], ...]

    @property
    def markdown(self) -> str:
        """All of it."""
        return "\n\n".join([f"# {self.title}", *(f"## {heading}\n\n{body}" for heading, body in self.sections)]) + "\n"


def article(number: int, characters: int) -> Article:
    """The article of that number, of that length or a little more."""
    draw = random.Random(number)  # noqa: S311 (nothing is secret)
    drawn: list[tuple[str, str]] = []
    while sum(len(body) for _, body in drawn) < characters:
        drawn.append(draw.choice(_sections()))
    return Article(f"{drawn[0][0]}, part {number}", tuple(drawn))


def row(number: int) -> dict[str, str]:
    """The row of that number: some paragraphs, drawn one by one, so that hardly two rows are the same."""
    draw = random.Random(number)  # noqa: S311 (nothing is secret)
    drawn: list[str] = []
    while sum(map(len, drawn)) < ROW_CHARACTERS:
        drawn.append(draw.choice(_paragraphs()))
    return {"id": f"r{number}", "title": draw.choice(_sections())[0], "text": "\n\n".join(drawn)}


def write_articles(
    folder: Path, format_: str, characters: int, *, text_bytes: float = math.inf, files: float = math.inf
) -> tuple[int, int]:
    """Fill a folder with articles in one of ``ARTICLE_FORMATS``, until they hold so much text or are so many.

    Args:
        folder: it is made.
        format_: of the files.
        characters: of each article, or a little more.
        text_bytes: of all of them.
        files: how many.

    Returns:
        How many files, and the bytes of the text in them, as Markdown.
    """
    suffix, made = ARTICLE_FORMATS[format_]
    number = written = 0
    while written < text_bytes and number < files:
        one = article(number, characters)
        path = folder / f"{number // _FILES_IN_FOLDER:03}" / f"{number:06}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made(one))
        written += len(one.markdown.encode())
        number += 1
    return number, written


def write_illustrated(folder: Path, characters: int, picture_bytes: int, total_bytes: float) -> tuple[int, int]:
    """As ``write_articles``, in Markdown, each with a picture as data in it, until the files are so large together."""
    number = written = 0
    while number * picture_bytes < total_bytes:
        one = article(number, characters).markdown
        picture = base64.b64encode(random.Random(number).randbytes(picture_bytes * 3 // 4)).decode()  # noqa: S311
        path = folder / f"{number // _FILES_IN_FOLDER:03}" / f"{number:06}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{one}\n![a figure](data:image/png;base64,{picture})\n", encoding="utf-8")
        written += len(one.encode())
        number += 1
    return number, written


def write_embedded_rows(folder: Path, dimensions: int, total_bytes: float) -> tuple[int, int]:
    """As ``write_rows``, in JSONL, each row with a vector beside its text, until the file is so large."""
    folder.mkdir(parents=True)
    vectors = [json.dumps([round(draw, 8) for draw in _numbers(seed, dimensions)]) for seed in range(_VECTORS)]
    count = written = size = 0
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        while size < total_bytes:
            one = row(count)
            line = f'{json.dumps(one, ensure_ascii=False)[:-1]}, "vector": {vectors[count % _VECTORS]}}}\n'
            size += stream.write(line)
            written += len(one["text"].encode())
            count += 1
    return count, written


def _numbers(seed: int, count: int) -> list[float]:
    draw = random.Random(seed)  # noqa: S311 (nothing is secret)
    return [draw.uniform(-0.1, 0.1) for _ in range(count)]


def write_rows(folder: Path, format_: str, text_bytes: float) -> tuple[int, int]:
    """Fill a folder with files of rows, CSV or JSONL, until they hold so much text.

    Returns:
        How many rows, and the bytes of the text in them.
    """
    folder.mkdir(parents=True)
    count = written = 0
    while written < text_bytes:
        end = min(written + _ROWS_FILE_BYTES, text_bytes)
        with (folder / f"rows-{count:06}.{format_}").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, FIELDS)
            if format_ == "csv":
                writer.writeheader()
            while written < end:
                one = row(count)
                if format_ == "csv":
                    writer.writerow(one)
                else:
                    stream.write(f"{json.dumps(one, ensure_ascii=False)}\n")
                written += len(one["text"].encode())
                count += 1
    return count, written


@cache
def _sections() -> tuple[tuple[str, str], ...]:
    """Heading and text of the sections of all documents."""
    return tuple(
        (heading, body)
        for document in installed_documents()
        for heading, body in _divided(document.metadata.title, document.text)
        if _SHORTEST <= len(body) <= _LONGEST
    )


def _divided(title: str, text: str) -> Iterator[tuple[str, str]]:
    lines = text.split("\n")
    heading, start = title, 0
    for found in markdown_headings(text):
        yield heading, "\n".join(lines[start : found.start]).strip()
        heading, start = found.text or title, found.end
    yield heading, "\n".join(lines[start:]).strip()


@cache
def _paragraphs() -> tuple[str, ...]:
    return tuple(part for _, body in _sections() for part in _PARAGRAPH_END.split(body) if len(part) >= _SHORTEST)


def _markdown(one: Article) -> bytes:
    return one.markdown.encode()


def _html(one: Article) -> bytes:
    body = _renderer().render(one.markdown)
    head = f'<meta charset="utf-8"><title>{one.title.replace("<", "&lt;")}</title>'
    return f"<!DOCTYPE html>\n<html><head>{head}</head>\n<body><main>\n{body}</main></body></html>\n".encode()


@cache
def _renderer() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _docx(one: Article) -> bytes:
    import docx

    document = docx.Document()
    document.add_heading(one.title, level=0)
    for heading, body in one.sections:
        document.add_heading(_printable(heading), level=1)
        for paragraph in _PARAGRAPH_END.split(body):
            document.add_paragraph(_printable(paragraph))
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def _printable(text: str) -> str:
    """Without control characters, which XML does not hold."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def _pdf(one: Article) -> bytes:
    """Pages of lines in Helvetica, their contents packed, as most programs write them."""
    lines = [part for line in one.markdown.split("\n") for part in textwrap.wrap(line, _PAGE_COLUMNS) or [""]]
    pages = [lines[start : start + _PAGE_LINES] for start in range(0, len(lines), _PAGE_LINES)]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        drawn = zlib.compress(b"BT /F1 10 Tf 50 780 Td 13 TL\n%b\nET" % b"\n".join(map(_pdf_line, page)))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            b"/Contents %d 0 R >>" % (5 + 2 * number)
        )
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(drawn), drawn))
    return _pdf_file(objects)


def _pdf_line(line: str) -> bytes:
    text = line.encode("cp1252", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
    return b"(%b) Tj T*" % text


def _pdf_file(objects: list[bytes]) -> bytes:
    data = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start, size = len(data), len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n" % size
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    data += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)
    return bytes(data)


ARTICLE_FORMATS: dict[str, tuple[str, Callable[[Article], bytes]]] = {
    "markdown": ("md", _markdown),
    "html": ("html", _html),
    "pdf": ("pdf", _pdf),
    "docx": ("docx", _docx),
}
"""Format → the suffix of its files, and what makes one."""
