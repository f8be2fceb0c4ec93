"""Formulas in a line, as people type them: ``(a + b)/c``, ``x^2``, ``√(x + 1)``; of MathML what it says in TeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_M: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_VALUE: Final = f"{_M}val"
_SIMPLE: Final = re.compile(r"\d+|[^\W\d]*|[(\[{|][^()\[\]{}|]*[)\]}|]")
_DEEPEST: Final = 100
_UNSEEN: Final = ("Pr", "}del", "}moveFrom")
"""Elements of Word with properties, and with what was struck out."""
_INVISIBLE: Final = dict.fromkeys(range(0x2061, 0x2065), "")
"""Signs of a multiplication and the like that is not written."""
RAISED: Final = re.compile(r"[-+\u2212]?\d{1,4}(?:\s?[,;\u2013-]\s?\d{1,4})*")
"""What is raised behind a word or a number: an exponent, or the numbers of notes; it is written behind ``^``."""

_Writing = Callable[[Sequence[str]], str]


def _group(text: str) -> str:
    return text if _SIMPLE.fullmatch(text) else f"({text})"


def _fraction(parts: Sequence[str]) -> str:
    return "/".join(map(_group, parts))


def _raised(parts: Sequence[str]) -> str:
    return _marked(parts, "^")


def _lowered(parts: Sequence[str]) -> str:
    return _marked(parts, "_")


def _both(parts: Sequence[str]) -> str:
    return _marked(parts, "_^")


def _marked(parts: Sequence[str], marks: str) -> str:
    base, *others = parts or [""]
    return base + "".join(f"{mark}{_group(one)}" for mark, one in zip(marks, others, strict=False) if one)


def _limited(parts: Sequence[str]) -> str:
    return f"{_both(parts)} "


def _root(parts: Sequence[str]) -> str:
    return f"√({''.join(parts)})"


def _nth_root(parts: Sequence[str]) -> str:
    return f"{parts[1]}√({parts[0]})" if len(parts) == 2 else _root(parts)


def _in_parentheses(parts: Sequence[str]) -> str:
    return f"({', '.join(parts)})"


def _in_rows(parts: Sequence[str]) -> str:
    return f"[{'; '.join(parts)}]"


def _in_row(parts: Sequence[str]) -> str:
    return ", ".join(parts)


_MATHML: Final[dict[str, _Writing]] = {
    "mfrac": _fraction,
    "msup": _raised,
    "mover": _raised,
    "msub": _lowered,
    "munder": _limited,
    "msubsup": _both,
    "munderover": _limited,
    "msqrt": _root,
    "mroot": _nth_root,
    "mfenced": _in_parentheses,
    "mtable": _in_rows,
    "mtr": _in_row,
}
_TEX: Final = re.compile(r"\{\\displaystyle\s+(.*)\}", re.DOTALL)
_RENDERED: Final = ", ".join(f".MathJax{ending}" for ending in ("", "_Display", "_SVG", "_CHTML", "_Preview"))
_SOURCE: Final = "math/tex"


def formula_of(math: LexborNode) -> str:
    """A formula of MathML: between dollars in the TeX that it was made of, or else what it is made of."""
    written = [
        one.text() for one in math.css("annotation") if "tex" in (one.attributes.get("encoding") or "").lower()
    ] or [math.attributes.get("alttext") or ""]
    return in_tex(written[0]) or " ".join(_of_mathml(math, 0).translate(_INVISIBLE).split())


def in_tex(source: str) -> str:
    """TeX between dollars; nothing for nothing."""
    source = " ".join(source.split())
    if found := _TEX.fullmatch(source):
        source = found[1].strip()
    return f"${source}$" if source else ""


def is_source(script: LexborNode) -> bool:
    """Whether a script is the TeX of a formula, as programs write it for MathJax."""
    return (script.attributes.get("type") or "").startswith(_SOURCE)


def is_picture_of_formula(image: LexborNode) -> bool:
    """Whether Wikipedia has a picture for browsers that do not show the formula beside it."""
    is_fallback = "mwe-math-fallback" in (image.attributes.get("class") or "")
    return is_fallback and image.parent is not None and image.parent.css_first("math") is not None


def without_renderings(tree: LexborHTMLParser, html: str) -> None:
    """Take out what MathJax has made of formulas whose TeX is in the page as a script, too."""
    if _SOURCE in html:
        for node in reversed(tree.css(_RENDERED)):
            node.decompose()


def _of_mathml(node: LexborNode, depth: int) -> str:
    if depth > _DEEPEST:
        return node.text()
    parts = []
    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text":
            parts.append(child.text_content or "")
        elif not tag.startswith(("annotation", "-", "_")):
            parts.append(_of_mathml(child, depth + 1))
    writing = _MATHML.get(node.tag or "")
    if writing is not None:
        return writing([one for part in parts if (one := part.strip())])
    return "".join(parts)


def formula_in_word(element: Any) -> str:
    """A formula of Word's own markup."""
    return "".join(_of_word(element))


def _of_word(element: Any) -> Iterator[str]:
    for child in element:
        tag = child.tag
        if not isinstance(tag, str) or tag.endswith(_UNSEEN):
            continue
        if tag.endswith("}t"):
            yield child.text or ""
        else:
            yield _WORD.get(tag, formula_in_word)(child)


def _parts(element: Any, *names: str) -> list[str]:
    return [formula_in_word(part) if (part := element.find(f"{_M}{name}")) is not None else "" for name in names]


def _property(element: Any, kind: str, name: str, usual: str) -> str:
    found = element.find(f"{_M}{kind}Pr/{_M}{name}")
    value: str = found.get(_VALUE, "") if found is not None else usual
    return value


def _in_brackets(element: Any) -> str:
    begin, end = _property(element, "d", "begChr", "("), _property(element, "d", "endChr", ")")
    inner = _property(element, "d", "sepChr", "|").join(map(formula_in_word, element.iterfind(f"{_M}e")))
    return f"{begin}{inner}{end}"


def _large(element: Any) -> str:
    sign = _property(element, "nary", "chr", "∫")
    below, above, inner = _parts(element, "sub", "sup", "e")
    return f"{_both([sign, below, above])} {inner}"


def _rooted(element: Any) -> str:
    degree, inner = _parts(element, "deg", "e")
    return _nth_root([inner, degree]) if degree else _root([inner])


_WORD: Final[dict[str, Callable[[Any], str]]] = {
    f"{_M}f": lambda one: _fraction(_parts(one, "num", "den")),
    f"{_M}sSup": lambda one: _raised(_parts(one, "e", "sup")),
    f"{_M}sSub": lambda one: _lowered(_parts(one, "e", "sub")),
    f"{_M}sSubSup": lambda one: _both(_parts(one, "e", "sub", "sup")),
    f"{_M}limLow": lambda one: _lowered(_parts(one, "e", "lim")),
    f"{_M}limUpp": lambda one: _raised(_parts(one, "e", "lim")),
    f"{_M}func": lambda one: " ".join(filter(None, _parts(one, "fName", "e"))),
    f"{_M}m": lambda one: _in_rows([_in_row([formula_in_word(e) for e in row]) for row in one.iterfind(f"{_M}mr")]),
    f"{_M}eqArr": lambda one: "; ".join(map(formula_in_word, one.iterfind(f"{_M}e"))),
    f"{_M}d": _in_brackets,
    f"{_M}nary": _large,
    f"{_M}rad": _rooted,
}
