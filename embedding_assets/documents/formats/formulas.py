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
_INVISIBLE: Final = dict.fromkeys((0, *range(0x2061, 0x2065)), "")
"""Signs of a multiplication and the like that is not written."""
_IN_FRONT: Final = "\x00"
"""Stands for the element of MathML behind which it says what is in front of a sign; a page has no such character."""

_Writing = Callable[[Sequence[str]], str]


def _group(text: str) -> str:
    return text if _SIMPLE.fullmatch(text) else f"({text})"


def _binomial(parts: Sequence[str]) -> str:
    return f"binom({', '.join(parts)})"


def _with_scripts(parts: Sequence[str]) -> str:
    """A sign with pairs of what is lowered and raised behind it, and in front of it."""
    base, *others = parts or [""]
    at = others.index(_IN_FRONT) if _IN_FRONT in others else len(others)
    return f"{_pairs(others[at + 1 :])}{base}{_pairs(others[:at])}"


def _pairs(parts: Sequence[str]) -> str:
    return "".join(_both(["", *parts[at : at + 2]]) for at in range(0, len(parts), 2))


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
    "mmultiscripts": _with_scripts,
    "msqrt": _root,
    "mroot": _nth_root,
    "mfenced": _in_parentheses,
    "mtable": _in_rows,
    "mtr": _in_row,
}
_TEX: Final = re.compile(r"\{\\displaystyle\s+(.*)\}", re.DOTALL)
_SOURCE: Final = "math/tex"
_NO_BAR: Final = re.compile(r"\s*0(?:\.0*)?\s*[a-z%]*\s*", re.IGNORECASE)
"""The thickness of the line of what is no fraction."""


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
    """Whether Wikipedia has a picture for browsers that do not show the formula before it."""
    if "mwe-math-fallback" not in (image.attributes.get("class") or ""):
        return False
    before = image.prev
    is_formula = before is not None and "mwe-math-mathml" in (before.attributes.get("class") or "")
    return is_formula and before is not None and before.css_first("math") is not None


def without_renderings(tree: LexborHTMLParser, html: str) -> None:
    """Take out what MathJax has made of formulas from the TeX that is behind it as a script."""
    if _SOURCE not in html:
        return
    for source in tree.css(f'script[type^="{_SOURCE}"]'):
        while (made := source.prev) is not None and _is_rendering(made):
            made.decompose()


def _is_rendering(node: LexborNode) -> bool:
    classes = (node.attributes.get("class") or "").split() if node.tag in {"span", "div"} else []
    return any(name.startswith("MathJax") for name in classes)


def _of_mathml(node: LexborNode, depth: int) -> str:
    if depth > _DEEPEST:
        return node.text()
    writing = _writing(node)
    parts = []
    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text":
            if writing is None or (child.text_content or "").strip():
                parts.append(child.text_content or "")
        elif tag == "mprescripts":
            parts.append(_IN_FRONT)
        elif not tag.startswith(("annotation", "-", "_")):
            parts.append(_of_mathml(child, depth + 1))
    return "".join(parts) if writing is None else writing([part.strip() for part in parts])


def _writing(node: LexborNode) -> _Writing | None:
    is_binomial = node.tag == "mfrac" and _NO_BAR.fullmatch(node.attributes.get("linethickness") or "")
    return _binomial if is_binomial else _MATHML.get(node.tag or "")


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


def _fraction_in_word(element: Any) -> str:
    parts = _parts(element, "num", "den")
    return _binomial(parts) if _property(element, "f", "type", "") == "noBar" else _fraction(parts)


def _in_front(element: Any) -> str:
    below, above, inner = _parts(element, "sub", "sup", "e")
    return f"{_both(['', below, above])}{inner}"


def _rooted(element: Any) -> str:
    degree, inner = _parts(element, "deg", "e")
    return _nth_root([inner, degree]) if degree else _root([inner])


_WORD: Final[dict[str, Callable[[Any], str]]] = {
    f"{_M}f": _fraction_in_word,
    f"{_M}sPre": _in_front,
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
