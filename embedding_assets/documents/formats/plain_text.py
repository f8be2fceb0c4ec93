"""Plain text, and reStructuredText, AsciiDoc and Org, which are plain text with headings."""

from __future__ import annotations

from collections.abc import Iterator

from embedding_assets.documents.document import Document, Part, Places
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.text_headings import Markup, markup_of
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.lone_headings import above_text
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a text file is."""
    text = without_data(file.text())
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    kind = file.options.format_of(file.name)
    markup = markup_of(file.name.suffix, is_rst=kind is not None and kind.name == "rst")
    title, parts = _sections(text, markup) if markup is not None else ("", ())
    metadata = document_metadata(file, title, {})
    yield Document(metadata, text, markdown=False, places=Places("line"), parts=parts)


def _sections(text: str, markup: Markup) -> tuple[str, tuple[Part, ...]]:
    """The heading that all of a text stands under, if any, and its sections; a title above nothing begins the next one.

    Nothing of reStructuredText is run, included or inserted: it is read as it stands.
    """
    headings = markup.headings(text)
    ends = [*(heading.start for heading in headings[1:]), len(text)]
    says = [has_words(markup.unseen.sub("", text[one.end : end])) for one, end in zip(headings, ends, strict=False)]
    is_above = above_text([heading.level for heading in headings], says)
    parts = [Part(0, headings[0].start if headings else 0, ())]
    names: list[str] = []
    waiting: int | None = None
    for number, (one, end) in enumerate(zip(headings, ends, strict=False)):
        names = [*names[: one.level], one.words]
        start = waiting if waiting is not None else one.end if is_above[number] else one.start
        waiting = start if not is_above[number] and number + 1 < len(headings) else None
        if waiting is None:
            parts.append(Part(start, end, tuple(names if is_above[number] else names[:-1])))
    kept = tuple(part for part in parts if has_words(markup.silent.sub("", text[part.start : part.end])))
    named = [part.names[0] for part in kept if part.names]
    has_title = len(set(named)) == 1 and not any(
        one.level == 0 and not above for one, above in zip(headings, is_above, strict=True)
    )
    return named[0] if has_title else "", kept if headings else ()
