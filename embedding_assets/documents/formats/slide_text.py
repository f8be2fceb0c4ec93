"""The words of PowerPoint's paragraphs, with formulas and raised numbers, which the library leaves out or flattens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from embedding_assets.documents.formats.formulas import formula_in_word
from embedding_assets.documents.formats.raised import LOOKED_BACK, is_power

_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_FORMULA: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}oMath"


def choose_alternatives(slide: Any) -> None:
    """Keep of what is written in several ways, for programs of different age, the first: formulas, not pictures."""
    for both in list(slide.iter(f"{_MC}AlternateContent")):
        parent, first = both.getparent(), next(iter(both), None)
        if parent is None or first is None:
            continue
        for element in list(first):
            both.addprevious(element)
        parent.remove(both)


def words_of(frame: Any) -> str:
    """The paragraphs of a text frame, a line or more for each."""
    return "\n".join(words_in(paragraph._p) for paragraph in frame.paragraphs)


def words_in(paragraph: Any) -> str:
    """The words of the element of a paragraph."""
    return "".join(_words(paragraph)).strip()


def _words(paragraph: Any) -> Iterator[str]:
    behind = ""
    for element in paragraph:
        text = _of_element(element)
        if _is_raised(element) and is_power(behind, text):
            text = f"^{text}"
        behind = f"{behind}{text}"[-LOOKED_BACK:]
        yield text


def _of_element(element: Any) -> str:
    if element.tag == f"{_A}br":
        return "\n"
    if element.tag in {f"{_A}r", f"{_A}fld"}:
        return "".join(text.text or "" for text in element.iterchildren(f"{_A}t"))
    return " ".join(map(formula_in_word, element.iter(_FORMULA)))


def _is_raised(run: Any) -> bool:
    look = run.find(f"{_A}rPr")
    return look is not None and look.get("baseline", "0").isdecimal() and look.get("baseline", "0") != "0"
