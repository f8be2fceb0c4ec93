"""PDF: the text of its pages."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.formats.notebook import joined_units
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines
from embedding_assets.documents.formats.pdf_edges import without_page_numbers
from embedding_assets.documents.formats.registry import EXTRA
from embedding_assets.documents.formats.values import document_metadata, is_unicode
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.words import has_words
from embedding_assets.formatting import counted

if TYPE_CHECKING:
    from pypdf import PageObject

logger = logging.getLogger(__name__)

_FORMS: Final = re.compile(r"[\ufb00-\ufdff\ufe70-\ufefc]+")
"""Letters as fonts draw them: some as one, those of Arabic by their place in a word; no word would be found by them."""
_LEADERS: Final = re.compile(r"(?:(?<![ \t])[ \t]++)?+(?:\.[ \t]?+){5,}+[ \t]*+")
"""From a heading to its page, in a table of contents."""
_DIVIDED: Final = re.compile(r"(?<![^\W\d_])([^\W\d_]++)[-\u00ad]\n([^\W\d_]++)")
_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")

_MOST_PAGES: Final = 20_000
_MOST_CHARACTERS: Final = 50_000_000
_MOST_PAGE_BYTES: Final = 20_000_000


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that the pages of a file are; scans, which are pictures of text, are rejected."""
    import pypdf
    from pypdf.errors import DependencyError, PyPdfError

    # It warns of what it repairs, sometimes thousands of times.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(file.read()))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("is encrypted; save it without a password")
        if len(reader.pages) > _MOST_PAGES:
            raise UnreadableError(f"has more than {_MOST_PAGES:,} pages")
        texts = _texts(reader.pages)
        title = _property(reader.metadata, "title")
        author = _property(reader.metadata, "author")
    except DependencyError:
        raise UnreadableError(f"is encrypted by AES, and needs cryptography to be read: {EXTRA}") from None
    except PyPdfError as error:
        raise UnreadableError(f"is a damaged or cut PDF ({type(error).__name__})") from None
    text, starts = joined_units(_with_whole_words(without_page_numbers(texts)))
    if not has_words(text):
        raise UnreadableError(f"holds no text: scans have to be recognized (OCR) first ({counted(len(texts), 'page')})")
    check_lines(text)
    fields = {"author": author, "pages": len(texts), **_without_text(file, texts)}
    yield Document(
        document_metadata(file, title, fields),
        text,
        markdown=False,
        context_header=title,
        places=Places("page", starts),
    )


def _without_text(file: OpenedFile, texts: list[str]) -> dict[str, int]:
    """How many pages may be scans, if any; this is logged."""
    count = sum(not has_words(text) for text in texts)
    if not count:
        return {}
    said = f"{count:,} of {counted(len(texts), 'page')} {'has' if count == 1 else 'have'} no text (scans?)"
    logger.warning(said, extra={"document": file.source})
    return {"pages_without_text": count}


def _texts(pages: Any) -> list[str]:
    texts = []
    left = _MOST_CHARACTERS
    for page in pages:
        text = _text(page)
        left -= len(text)
        if left < 0:
            raise UnreadableError(f"holds more than {_MOST_CHARACTERS:,} characters")
        texts.append(text)
    return texts


def _with_whole_words(texts: list[str]) -> list[str]:
    """Pages without the hyphens at the ends of lines that are of no word: those of which the whole is elsewhere."""
    if not any(map(_DIVIDED.search, texts)):
        return texts
    words = {word.casefold() for text in texts for word in _WORD.findall(text)}

    def whole(found: re.Match[str]) -> str:
        word = f"{found[1]}{found[2]}"
        is_compound = f"{found[1]}-{found[2]}".casefold() in words
        return found.group() if is_compound or word.casefold() not in words else word

    return [_DIVIDED.sub(whole, text) for text in texts]


def _text(page: PageObject) -> str:
    contents = page.get_contents()
    if contents is not None and len(contents.get_data()) > _MOST_PAGE_BYTES:
        raise UnreadableError("has a page that is too large")
    text = normalized_newlines(page.extract_text()).replace("\x00", "")
    text = _LEADERS.sub(" … ", _FORMS.sub(lambda found: normalize("NFKC", found.group()), text))
    return (text if is_unicode(text) else text.encode("utf-8", "replace").decode()).strip()


def _property(metadata: Any, name: str) -> str:
    value = getattr(metadata, name, None)
    text = value.replace("\x00", "") if isinstance(value, str) else ""
    return text.strip()[:500] if is_unicode(text) else ""
