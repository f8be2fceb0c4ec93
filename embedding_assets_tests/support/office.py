"""Files of the formats that programs write, made by the libraries that people make them with."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Final

import docx
import openpyxl
import pptx
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = "alpha beta gamma"


def word() -> bytes:
    document = docx.Document()
    document.core_properties.author = "Ada"
    document.add_heading("Manual", level=0)
    document.add_heading("Setup", level=1)
    document.add_paragraph(WORDS)
    for item in ("first", "second"):
        document.add_paragraph(item, style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("name", "value"), ("size", "7|8")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    return saved(document.save)


def slides() -> bytes:
    presentation = pptx.Presentation()
    for title, body in (("Plan", WORDS), ("Costs", "seven dollars")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    presentation.slides[1].notes_slide.notes_text_frame.text = "said aloud"
    return saved(presentation.save)


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Articles"
    for row in (("Text", "price"), (WORDS, 12.5), (None, None), ("second row", 3)):
        sheet.append(row)
    return saved(book.save)


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text on each page."""
    fonts = b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode()]
    for number, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode() if text else b""
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources %b /Contents %d 0 R >>"
            % (fonts, 4 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn))
    data = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    xref = b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table)
    return data + xref + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))


CONTAINER = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>A book</dc:title>
<dc:creator>Ada</dc:creator></metadata>
<manifest><item id="a" href="a%20b.xhtml"/><item id="c" href="c.xhtml"/></manifest>
<spine><itemref idref="c"/><itemref idref="a"/></spine></package>"""


def epub(container: str = CONTAINER, package: str = PACKAGE) -> bytes:
    return packed(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OPS/book.opf": package,
            "OPS/a b.xhtml": f"<!DOCTYPE html><html><body><h1>Second</h1><p>{WORDS}</p></body></html>",
            "OPS/c.xhtml": "<html><body><h1>First</h1><p>one two</p></body></html>",
        }
    )


def packed(files: Mapping[str, str | bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return stream.getvalue()


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"] = "The plan"
    message["From"] = "ada@example.org"
    message["To"] = "bob@example.org"
    message.set_content(WORDS)
    message.add_attachment(b"\x00\x01", maintype="image", subtype="png", filename="plan.png")
    return message.as_bytes()


def notebook() -> bytes:
    printed = {"output_type": "stream", "text": ["\x1b[31mforty", " two\x1b[0m\n"]}
    picture = {"output_type": "display_data", "data": {"image/png": "AAAA" * 100, "text/plain": "<Figure>"}}
    failed = {"output_type": "error", "traceback": ["secret"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Study\n", "\n", WORDS]},
        {"cell_type": "code", "source": "print(6 * 7)", "outputs": [printed, picture, failed]},
    ]
    value = {"cells": cells, "metadata": {"kernelspec": {"language": "python"}}, "nbformat": 4}
    return json.dumps(value).encode()


def table() -> pa.Table:
    return pa.table(
        {
            "text": pa.array([WORDS, "second row"]).dictionary_encode(),
            "nested": [{"page": 1, "tags": ["a"]}, {"page": 2, "tags": []}],
        }
    )


def parquet() -> bytes:
    return saved(lambda stream: pq.write_table(table(), stream))


def arrow() -> bytes:
    def save(stream: io.BytesIO) -> None:
        with pa.ipc.new_file(stream, table().schema) as writer:
            writer.write_table(table())

    return saved(save)


HTML = f"""<!DOCTYPE html><html><head><title>Site - Page</title><style>p {{ color: red }}</style></head><body>
<nav><a href="/">Home</a></nav><main><h1>Page</h1><p>{WORDS}<br>delta</p><script>secret()</script>
<ul><li>one</li><li>two<ol><li>inner</li></ol></li></ul>
<table><tr><th>name</th><th>value</th></tr><tr><td>size</td><td>7</td></tr></table>
<pre><code class="language-python">def run():
    pass</code></pre><img src="data:image/png;base64,AAAA" alt="a chart"></main>
<footer>imprint</footer></body></html>"""

SOURCES: Final = {
    "a.py": "def first():\n    return 'alpha beta gamma'\n",
    "a.js": "function first() { return 'alpha beta gamma' }\n",
    "a.ts": "export class A {\n  first(): string { return 'alpha beta gamma' }\n}\n",
    "a.tsx": "export function First() { return <p>alpha beta gamma</p> }\n",
    "a.go": 'package a\n\nfunc First() string { return "alpha beta gamma" }\n',
    "a.rs": 'impl A {\n    fn first() -> &str { "alpha beta gamma" }\n}\n',
    "a.java": 'class A {\n  String first() { return "alpha beta gamma"; }\n}\n',
    "a.c": 'char *first(void) { return "alpha beta gamma"; }\n',
    "a.cpp": 'namespace n {\nconst char *first() { return "alpha beta gamma"; }\n}\n',
    "a.cs": 'class A {\n  string First() { return "alpha beta gamma"; }\n}\n',
    "a.rb": "class A\n  def first\n    'alpha beta gamma'\n  end\nend\n",
    "a.php": "<?php\nfunction first() { return 'alpha beta gamma'; }\n",
    "a.sh": "first() {\n  echo alpha beta gamma\n}\n",
}


def examples() -> dict[str, bytes]:
    """A good file of each format, by its name; all hold ``WORDS``."""
    files = {
        "a.md": f"# Title\n\n{WORDS}\n".encode(),
        "a.txt": f"{WORDS}\n".encode(),
        "a.rst": f"Title\n=====\n\n{WORDS}\n".encode(),
        "a.html": HTML.encode(),
        "a.ipynb": notebook(),
        "a.jsonl": json.dumps({"text": WORDS}).encode() + b"\n",
        "a.json": json.dumps([{"text": WORDS}]).encode(),
        "a.csv": f"text,n\n{WORDS},1\n".encode(),
        "a.tsv": f"text\tn\n{WORDS}\t1\n".encode(),
        "a.parquet": parquet(),
        "a.arrow": arrow(),
        "a.xlsx": workbook(),
        "a.pdf": pdf(WORDS),
        "a.docx": word(),
        "a.pptx": slides(),
        "a.epub": epub(),
        "a.eml": mail(),
        **{name: source.encode() for name, source in SOURCES.items()},
    }
    return {**files, "b.jsonl.gz": gzip.compress(files["a.jsonl"]), "b.parquet.gz": gzip.compress(files["a.parquet"])}
