"""The styles of paragraphs in Word: those of a company's template are headings and lists by what they are made from."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VALUE: Final = f"{_W}val"
LIST: Final = "List"
"""What styles of items are called, or begin with."""
_LIKE: Final = ("heading ", LIST)
_LEVELS: Final = 9
_MOST_ABOVE: Final = 20


class _Style(NamedTuple):
    """A style by itself.

    Attributes:
        name: as Word calls it in English, whatever its language.
        based: the one that it is made from.
        level: what it is in the outline, from 0; None if it does not say so.
        is_item: whether it numbers paragraphs, or puts a mark before them.
    """

    name: str
    based: str
    level: int | None
    is_item: bool


def styles_of(styles: Any) -> dict[str | None, str]:
    """The names of the styles of paragraphs by their ids, that of the usual one by None."""
    found: dict[str, _Style] = {}
    usual = ""
    for style in styles.iterfind(f"{_W}style[@{_W}type='paragraph']"):
        name = style.get(f"{_W}styleId", "")
        found[name] = _style(style)
        if style.get(f"{_W}default") in {"1", "true", "on"}:
            usual = name
    names: dict[str | None, str] = {name: _meant(found, name) for name in found}
    return names | ({None: names[usual]} if usual in names else {})


def _style(style: Any) -> _Style:
    look = style.find(f"{_W}pPr")
    level = _said(look, "outlineLvl") if look is not None else ""
    is_level = level.isascii() and level.isdecimal()
    return _Style(_said(style, "name"), _said(style, "basedOn"), int(level) if is_level else None, is_item(look))


def _said(element: Any, name: str) -> str:
    found = element.find(f"{_W}{name}")
    return found.get(_VALUE, "") if found is not None else ""


def is_item(look: Any) -> bool:
    """Whether a paragraph, or a style, of that look has a number or a mark before it."""
    number = look.find(f"{_W}numPr/{_W}numId") if look is not None else None
    return number is not None and number.get(_VALUE) != "0"


def _meant(styles: dict[str, _Style], name: str) -> str:
    """A style's own name, or that of the heading or the list that it is made from."""
    own = styles[name].name
    if own == "Title" or own.lower().startswith(("toc", "table of figures")):
        return own
    is_list = False
    for _ in range(_MOST_ABOVE):
        style = styles.get(name)
        if style is None:
            break
        if style.name.lower().startswith(_LIKE[0]) or style.name.startswith(LIST):
            return style.name
        if style.level is not None:
            return f"heading {style.level + 1}" if style.level < _LEVELS else own
        is_list = is_list or style.is_item
        name = style.based
    return LIST if is_list else own
