"""Word documents: headings, paragraphs, lists, tables, notes, text boxes, diagrams and charts, as Markdown."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.diagrams import data_of, diagram_words
from embedding_assets.documents.formats.html import LONGEST_HEADING, no_headings, table
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines
from embedding_assets.documents.formats.packages import check_package
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.formats.word_styles import LIST, is_item, styles_of
from embedding_assets.documents.formats.word_text import TABLE, blocks_in, cells_in, inline, rows_in, say_looks
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

_HEADING: Final = re.compile(r"^heading (\d)$", re.IGNORECASE)
_CONTENTS: Final = re.compile(r"toc \d|toc heading|table of figures", re.IGNORECASE)
_LONGEST_REPEATED: Final = 1_000
"""Characters of a cell over several columns that are in each of them."""
_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"

_Notes = dict[tuple[str, str], Any]
"""The elements of notes, by kind and number."""


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a file is."""
    import docx

    data = io.BytesIO(file.read())
    check_package(data)
    document = docx.Document(data)
    writer = _Writer(styles_of(document.styles.element), _notes(document.part), document.part.related_parts)
    say_looks(document.element.body)
    writer.blocks(blocks_in(document.element.body))
    text = "\n\n".join(writer.parts) + "\n"
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    properties = document.core_properties
    # What the library says of a file without properties, as Google Docs writes them.
    title = (properties.title if properties.title != "Word Document" else "") or writer.title or markdown_title(text)
    yield Document(document_metadata(file, title, {"author": properties.author}), text, markdown=True)


def _notes(part: Any) -> _Notes:
    from docx.oxml.parser import parse_xml

    return {
        (kind, note.get(f"{_W}id", "")): note
        for relation in part.rels.values()
        if not relation.is_external
        and (kind := relation.reltype.rpartition("/")[2].removesuffix("s")) in {"footnote", "endnote"}
        for note in parse_xml(relation.target_part.blob).iterfind(f"{_W}{kind}")
    }


class _Writer:
    """Writes paragraphs and tables as Markdown."""

    def __init__(self, styles: Mapping[str | None, str], notes: _Notes, related: Mapping[str, Any]) -> None:
        self.parts: list[str] = []
        # What the document calls itself; chapters are headings of the same level.
        self.title = ""
        self._styles = styles
        self._notes = notes
        self._related = related

    def blocks(self, blocks: Iterable[Any]) -> None:
        """Write paragraphs and tables, each with its notes, text boxes and diagrams behind it."""
        for block in blocks:
            if block.tag == TABLE:
                self._table(block)
            else:
                self._paragraph(block)

    def _paragraph(self, paragraph: Any) -> None:
        found = inline(paragraph)
        words = "".join(found.texts).strip()
        if words and not _CONTENTS.match(style := self._style(paragraph)):
            self._styled(words, style)
        for reference in found.notes:
            if note := self._note(reference):
                self._note_below(note)
        for box in found.boxes:
            self.blocks(blocks_in(box))
        self.parts += filter(None, map(self._diagram, found.diagrams))

    def _styled(self, words: str, style: str) -> None:
        level = 1 if style == "Title" else int(found.group(1)) if (found := _HEADING.match(style)) else 0
        if style == "Title" and not self.title:
            self.title = " ".join(words.split())
        if level and len(words) <= LONGEST_HEADING:
            self.parts.append(f"{'#' * min(level, 6)} {' '.join(words.split())}")
        elif style.startswith("List"):
            item = f"- {no_headings(words)}".replace("\n", "\n  ")
            if self._is_in_list:
                self.parts[-1] += f"\n{item}"
            else:
                self.parts.append(item)
        else:
            self.parts.append(no_headings(words))

    def _note_below(self, note: str) -> None:
        if self._is_in_list:
            self.parts[-1] += f"\n  {note}"
        else:
            self.parts.append(note)

    @property
    def _is_in_list(self) -> bool:
        return bool(self.parts) and self.parts[-1].startswith("- ")

    def _style(self, paragraph: Any) -> str:
        """The name of a paragraph's style."""
        look = paragraph.find(f"{_W}pPr")
        style = look.find(f"{_W}pStyle") if look is not None else None
        usual = self._styles.get(None, "")
        name = self._styles.get(style.get(f"{_W}val"), usual) if style is not None else usual
        is_heading = name == "Title" or _HEADING.match(name)
        return LIST if not is_heading and is_item(look) else name

    def _table(self, element: Any) -> None:
        rows = list(cells_in(rows_in(element)))
        if any(block.tag == TABLE for cells in rows for cell, _ in cells for block in blocks_in(cell)):
            # A table of tables places things on the page.
            for cell in (cell for cells in rows for cell, continues in cells if not continues):
                self.blocks(blocks_in(cell))
            return
        written = [self._texts(cells) for cells in rows]
        if text := table([row for row in written if any(row)]):
            self.parts.append(text)

    def _texts(self, cells: Sequence[tuple[Any, bool]]) -> list[str]:
        """Those of the cells of a row; of one over all of it only once, for it heads the rows below."""
        is_one = all(cell is cells[0][0] for cell, _ in cells)
        texts: list[str] = []
        for number, (cell, _) in enumerate(cells):
            is_repeated = number > 0 and cell is cells[number - 1][0]
            text = "" if is_one and number else self._flat(cell).replace("|", "\\|")
            texts.append("" if is_repeated and len(text) > _LONGEST_REPEATED else text)
        return texts

    def _note(self, reference: tuple[str, str]) -> str:
        # Each once: notes that refer to notes would multiply.
        note = self._notes.pop(reference, None)
        return self._flat(note) if note is not None else ""

    def _diagram(self, diagram: Any) -> str:
        from docx.oxml.parser import parse_xml

        part = self._related.get(data_of(diagram))
        return diagram_words(parse_xml(part.blob)) if part is not None else ""

    def _flat(self, element: Any) -> str:
        """All text in an element, in a line."""
        texts: list[str] = []
        for block in blocks_in(element):
            if block.tag == TABLE:
                texts += [self._flat(cell) for cells in cells_in(rows_in(block)) for cell, again in cells if not again]
                continue
            found = inline(block)
            texts.append("".join(found.texts))
            texts += map(self._note, found.notes)
            texts += map(self._flat, found.boxes)
            texts += map(self._diagram, found.diagrams)
        return " ".join(" ".join(texts).split())
