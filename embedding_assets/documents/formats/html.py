"""HTML: its main content as Markdown, without scripts, styles and navigation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.document import Document
from embedding_assets.documents.formats.formulas import (
    formula_of,
    in_tex,
    is_picture_of_formula,
    is_source,
    without_renderings,
)
from embedding_assets.documents.formats.html_contents import contents_of
from embedding_assets.documents.formats.html_elements import AROUND, BLOCKS, HEADINGS, LEFT_OUT, without_xml_ends
from embedding_assets.documents.formats.html_encoding import decoded_page
from embedding_assets.documents.formats.html_layout import are_headed
from embedding_assets.documents.formats.html_nesting import check_nesting
from embedding_assets.documents.formats.html_noise import is_of_note, is_unseen, seen, without_noise
from embedding_assets.documents.formats.html_table import in_columns, is_line_of_code, rows_of, without_line_numbers
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines
from embedding_assets.documents.formats.raised import LOOKED_BACK, RAISED, is_power
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import NOTHING, TOO_DEEP, Rejection
from embedding_assets.documents.words import has_words

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_DEEPEST: Final = 300
LONGEST_HEADING: Final = 300
"""Characters of a heading; what is longer is a paragraph in its style."""
_TITLES: Final = "p.MsoTitle, body.doc-content > p.title"
"""As Word and Google Docs write them."""
_MAIN: Final = ("main", "[role=main]", "article", "#content", "#main-content", ".document")
_PERMALINKS: Final = frozenset("¶#§\uf0c1")
"""Behind headings, where Sphinx, MkDocs and their like link to them."""
_TO_ITSELF: Final = re.compile(r"anchor|header-?link|perma-?link|hash-?link", re.IGNORECASE)
"""In the class of such a link; what Sphinx documents are terms, not headings."""
_SPACE: Final = re.compile(r"[ \t\r\n\f]+")
_LANGUAGE: Final = re.compile(r"(?:language|lang|highlight)-([\w+#-]{1,30})")
_LIKE_HEADING: Final = re.compile(r"^( {0,3}#{1,6})(?:[ \t]|$)|(?<=[^\n]\n)( {0,3}(?:=+|-+))[ \t]*$", re.MULTILINE)
_BLANK_LINES: Final = re.compile(r"\n{3,}")


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a page is."""
    title, text = page(decoded_page(file.read(), file.options.encoding))
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    yield Document(document_metadata(file, markdown_title(text) or title, {}), text, markdown=True)


def page(html: str, *, is_book: bool = False) -> tuple[str, str]:
    """Title and main content of a page, the content as Markdown.

    Args:
        html: the page.
        is_book: whether it is a chapter, whose headers, footnotes and asides belong to it.

    Raises:
        UnreadableError: it is nested deeper than pages are.
    """
    from selectolax.lexbor import LexborHTMLParser

    html = without_xml_ends(html)
    check_nesting(html)
    tree = LexborHTMLParser(html.replace("\x00", ""))
    without_line_numbers(tree, html)
    without_renderings(tree, html)
    without_noise(tree, html)
    found = tree.css_first(_TITLES) or tree.css_first("head > title, body > title")
    title = _SPACE.sub(" ", found.text()).strip() if found is not None else ""
    root = tree.body or tree.root if is_book else _main(tree)
    if root is None:
        return title, ""
    writer = _Writer(contents_of(tree, html), is_whole=not is_book and root.tag in {"body", "html"})
    writer.children(root, 0)
    return title, _BLANK_LINES.sub("\n\n", "".join(writer.parts)).strip() + "\n"


def _main(tree: LexborHTMLParser) -> LexborNode | None:
    """The element that the page is about, if it says which; an article only if it is half of the page."""
    whole = tree.body or tree.root
    if whole is None:
        return None
    for selector in _MAIN:
        found = tree.css(selector)
        if len(found) != 1 or not has_words(found[0].text()):
            continue
        # A single article may also be a teaser, a comment or a card.
        if selector != "article" or 2 * _characters(found[0]) >= _characters(whole):
            return found[0]
    return whole


def _characters(node: LexborNode) -> int:
    """The characters of an element, without what stands around its content."""
    count = 0
    waiting = [node]
    while waiting:
        for child in waiting.pop().iter(include_text=True):
            tag = child.tag or ""
            if tag == "-text":
                count += len((child.text_content or "").strip())
            elif tag not in LEFT_OUT and tag not in AROUND and not is_unseen(child):
                waiting.append(child)
    return count


def _is_of_heading(link: LexborNode) -> bool:
    """Whether a link stands in a heading, or is classed as one that leads to where it stands."""
    parent = link.parent
    above = {node.tag for node in (parent, parent and parent.parent) if node}
    return not above.isdisjoint(HEADINGS) or _TO_ITSELF.search(link.attributes.get("class") or "") is not None


def _is_title(paragraph: LexborNode) -> bool:
    classes = (paragraph.attributes.get("class") or "").split()
    return "MsoTitle" in classes or ("title" in classes and paragraph.css_matches(_TITLES))


def _is_of_note(link: LexborNode) -> bool:
    """Whether a link leads to a note, as books say."""
    attributes = link.attributes
    return attributes.get("epub:type") == "noteref" or attributes.get("role") == "doc-noteref"


def _is_of_task(box: LexborNode) -> bool:
    """Whether it is a box of a list of tasks, not of a form."""
    attributes = box.attributes
    return attributes.get("type") == "checkbox" and (
        "disabled" in attributes or "task" in (attributes.get("class") or "")
    )


def _number(node: LexborNode, name: str, usual: int) -> int:
    value = (node.attributes.get(name) or "").strip()
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else usual


class _Writer:
    """Writes elements as Markdown."""

    def __init__(self, contents: frozenset[int], *, is_whole: bool) -> None:
        self.parts: list[str] = []
        self._looked_at = 0
        self._said = ""
        self._contents_of_page = contents
        # Of a page without a main element, what stands around it is left out.
        self._is_whole = is_whole

    def children(self, node: LexborNode, depth: int) -> None:
        """Write what is in an element."""
        if depth > _DEEPEST:
            raise UnreadableError(TOO_DEEP)
        for child in node.iter(include_text=True):
            self._write(child, depth + 1)

    def _write(self, node: LexborNode, depth: int) -> None:  # noqa: PLR0912 (one for each element)
        tag = node.tag or ""
        if tag == "-text":
            self._text(node.text_content or "")
        elif self._is_left_out(node, tag):
            return
        elif tag in HEADINGS:
            words = self._inline(node, depth)
            self._block(no_headings(words)) if is_of_note(node) else self._heading(int(tag[1]), words)
        elif tag == "p" and _is_title(node):
            self._heading(1, self._inline(node, depth))
        elif tag == "pre":
            self._code(node)
        elif self._contents_of_page and node.mem_id in self._contents_of_page:
            self._contents()
        elif tag in {"ul", "ol"}:
            self._list(node, depth, is_ordered=tag == "ol")
        elif tag == "table":
            self._table(node, depth)
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "hr":
            self._block("")
        elif tag == "img" and not is_picture_of_formula(node):
            self.parts.append(node.attributes.get("alt") or "")
        elif tag == "math":
            self._formula(formula_of(node), is_block=node.attributes.get("display") == "block")
        elif tag == "script":
            self._formula(in_tex(node.text()), is_block="display" in (node.attributes.get("type") or ""))
        elif tag == "input":
            self.parts.append("[x] " if "checked" in node.attributes else "[ ] ")
        elif tag in {"sup", "a"} and self._is_marked(node, tag):
            self.parts.append(f"^{self._inline(node, depth)}")
        elif tag == "code":
            self.parts.append(f"`{_SPACE.sub(' ', node.text()).strip()}`")
        elif tag == "blockquote":
            self._block("\n".join(f"> {line}" for line in self._inner(node, depth).split("\n")))
        elif tag in BLOCKS:
            self.parts.append("\n\n")
            self.children(node, depth)
            self.parts.append("\n\n")
        else:
            self.children(node, depth)

    def _is_left_out(self, node: LexborNode, tag: str) -> bool:
        if tag.startswith(("-", "_", "!")) or is_unseen(node):
            return True
        if tag in LEFT_OUT:
            return not (is_source(node) if tag == "script" else tag == "input" and _is_of_task(node))
        if tag == "a" and node.text() in _PERMALINKS and _is_of_heading(node):
            return True
        return self._is_whole and tag in AROUND and node.css_first("h1") is None

    def _text(self, text: str) -> None:
        text = _SPACE.sub(" ", text if text.isascii() else seen(text))
        if not self.parts or self.parts[-1].endswith(("\n", " ")):
            text = text.lstrip()
        if text.startswith(("#", "-", "=")) and (not self.parts or self.parts[-1].endswith("\n")):
            text = no_headings(f".\n{text}")[2:]
        if text:
            self.parts.append(text)

    def _block(self, text: str) -> None:
        self.parts.append(f"\n\n{text}\n\n")

    def _is_marked(self, node: LexborNode, tag: str) -> bool:
        """Whether something is an exponent, or the number of a note of a book, behind a text."""
        if not self.parts or self.parts[-1][-1:].isspace():
            return False
        if tag == "a":
            return _is_of_note(node) and RAISED.fullmatch(node.text().strip()) is not None
        before = "".join(part[-LOOKED_BACK:] for part in self.parts[-LOOKED_BACK:])[-LOOKED_BACK:]
        return is_power(before, node.text().strip())

    def _contents(self) -> None:
        """What makes no chunk, below the heading that it may have."""
        behind = reversed(self.parts[self._looked_at :])
        self._said = next((part for part in behind if part.strip()), self._said)
        self._looked_at = len(self.parts)
        if self._said.lstrip().startswith("#"):
            self._block("[TOC]")

    def _formula(self, text: str, *, is_block: bool) -> None:
        if is_block:
            self._block(text)
        else:
            self._text(text)

    def _heading(self, level: int, words: str) -> None:
        # A paragraph that is to look like one heads nothing, and would be cut off.
        self._block(f"{'#' * level} {words}" if len(words) <= LONGEST_HEADING else no_headings(words))

    def _inner(self, node: LexborNode, depth: int) -> str:
        inner = _Writer(self._contents_of_page, is_whole=False)
        inner.children(node, depth)
        return _BLANK_LINES.sub("\n\n", "".join(inner.parts)).strip()

    def _alone(self, node: LexborNode, depth: int) -> str:
        if depth > _DEEPEST:
            raise UnreadableError(TOO_DEEP)
        inner = _Writer(self._contents_of_page, is_whole=False)
        inner._write(node, depth + 1)
        return _BLANK_LINES.sub("\n\n", "".join(inner.parts)).strip()

    def _inline(self, node: LexborNode, depth: int) -> str:
        return " ".join(self._inner(node, depth).split())

    def _code(self, node: LexborNode) -> None:
        code = node.css_first("code")
        classes = f"{node.attributes.get('class') or ''} {(code.attributes.get('class') or '') if code else ''}"
        language = _LANGUAGE.search(classes)
        if text := _lines(node).strip("\n"):
            self._block(_fenced(text, language.group(1) if language else ""))

    def _list(self, node: LexborNode, depth: int, *, is_ordered: bool) -> None:
        if not is_ordered and are_headed(node.iter(include_text=True)):
            # It places things on the page, as the methods of a class.
            self._apart(node.iter(include_text=True), depth)
            return
        lines: list[str] = []
        number = _number(node, "start", 1) - 1
        indent = ""
        for item in node.iter(include_text=True):
            tag = item.tag or ""
            number = _number(item, "value", number + 1) if tag == "li" else number
            text = self._inner(item, depth) if tag == "li" else self._alone(item, depth)
            if not text or (tag == "li" and self._is_left_out(item, tag)):
                continue
            mark = f"{number}. " if is_ordered else "- "
            if (indent and tag in {"ul", "ol"}) or (is_ordered and tag != "li"):
                # What stands in no item belongs to the one above, and has no number.
                mark = indent
            indent = " " * len(mark)
            lines.append(mark + text.replace("\n", f"\n{indent}"))
        self._block("\n".join(lines))

    def _apart(self, nodes: Iterable[LexborNode], depth: int) -> None:
        for node in nodes:
            self.parts.append("\n\n")
            self._write(node, depth)
            self.parts.append("\n\n")

    def _table(self, node: LexborNode, depth: int) -> None:
        for caption in (part for part in node.iter() if part.tag == "caption"):
            self._block(self._inline(caption, depth))
        cells = rows_of(node)
        if lines := _code_of(cells):
            self._block(_fenced("\n".join(lines)))
            return
        is_nested = len(node.css("table")) > 1 or _are_headed(cells)
        texts = [] if is_nested else [[self._inline(cell, depth).replace("|", "\\|") for cell in row] for row in cells]
        if is_nested or max((len(list(filter(None, row))) for row in texts), default=0) < 2:
            # It places things on the page.
            self._apart((cell for row in cells for cell in row), depth)
            return
        self._block(table([row for row in in_columns(cells, texts) if any(row)]))


def _are_headed(cells: list[list[LexborNode]]) -> bool:
    """Whether a table only places sections; one that names its rows or columns is of data."""
    all_cells = [cell for row in cells for cell in row]
    return not any(cell.tag == "th" for cell in all_cells) and are_headed(all_cells)


def _code_of(cells: list[list[LexborNode]]) -> list[str]:
    """The lines of a table that shows a file, and nothing else."""
    lines = [cell for row in cells for cell in row if cell.text()]
    return [_lines(cell).strip("\n") for cell in lines] if lines and all(map(is_line_of_code, lines)) else []


def _fenced(code: str, language: str = "") -> str:
    fence = "```" if "```" not in code else "~~~~"
    return f"{fence}{language}\n{code}\n{fence}"


def _lines(code: LexborNode) -> str:
    """The text of preformatted text, whose lines may end in elements, or be rows of a table."""
    return "".join(
        "\n" if node.tag in {"br", "tr"} else node.text_content or ""
        for node in code.traverse(include_text=True)
        if node.tag in {"br", "tr", "-text"}
    )


def no_headings(text: str) -> str:
    """A text that is not Markdown as such: ``# of users`` is no heading there, with a space that does not break."""
    return _LIKE_HEADING.sub("\\1\\2\u00a0", text)


def table(rows: list[list[str]]) -> str:
    """Rows as a table of Markdown, the first one as its header; a single column is written as paragraphs."""
    width = max(map(len, rows), default=0)
    if width < 2:
        return "\n\n".join(cell.replace("\\|", "|") for row in rows for cell in row)
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])
