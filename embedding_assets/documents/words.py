"""Whether a text says anything."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]")
_LINE_OF_WORDS = re.compile(r"^[ \t]*[^\W_]", re.MULTILINE)
_UNSEEN = (
    r"</?[a-zA-Z][\w-]*(?::[a-zA-Z][\w-]*)?(?:[\s/][^<>]*)?>"  # HTML tags, anchors and line breaks among them; not <https://…>
    r"|&#?\w{1,31};"  # entities
    r"|!\[[^\w\[\]]*\]\([^()\n]*\)"  # pictures that nothing is said about
)
_UNSEEN_ALONE = re.compile(_UNSEEN)
_MARKUP = re.compile(
    rf"{_UNSEEN}"
    r"|\[\[?_?TOC_?\]?\]|\{:? ?toc ?\}|\{\{<? ?toc ?>?\}\}"  # places for a table of contents
    r"|^[ \t]*\.\. contents::.*$"
    r"|\[[^\[\]\n]*\]\(#[^()\n]*\)"  # a table of contents: links into the page itself
    r"|^ {0,3}\[(?!\^)[^\[\]\n]+\]:[ \t]*(?:<[^<>\n]*>|\S+)(?:[ \t]+[\"'(].*)?[ \t]*$"  # targets of links; no footnotes
    r"|^[ \t]*(?:`{3,}|~{3,})[ \t]*(?:[\w+.#-]+[ \t]*)?$",  # fences of code, and its language
    re.IGNORECASE | re.MULTILINE,
)


def has_words(text: str) -> bool:
    """Whether a text holds a letter, a digit or a picture character such as an emoji; not rules, dots, nothing seen."""
    return _WORD.search(text) is not None or any(unicodedata.category(character) == "So" for character in text)


def says_something(markup: str) -> bool:
    """Whether a text has words besides comments, pictures, anchors and tables of contents of Markdown."""
    begun = _LINE_OF_WORDS.search(markup)
    if begun is not None and markup.find("<", 0, begun.end()) < 0:
        return True  # tags and comments alone go on to a line that begins with a word
    return has_words(_MARKUP.sub("", _without_comments(markup)))


def is_blank(markup: str) -> bool:
    """Whether a text is nothing but rules, comments, pictures and anchors of Markdown; not a table of contents."""
    return not has_words(_UNSEEN_ALONE.sub("", _without_comments(markup)))


def _without_comments(markup: str) -> str:
    kept = []
    at = 0
    while (start := markup.find("<!--", at)) >= 0:
        end = markup.find("-->", start + 4)
        if end < 0:
            break
        kept.append(markup[at:start])
        at = end + 3
    return "".join([*kept, markup[at:]]) if kept or at else markup
