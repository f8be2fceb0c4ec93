"""The part of a text that a person is shown, with the question's words marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SNIPPET_CHARACTERS: Final = 280

_WORD: Final = re.compile(r"\w+")
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Letters of scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""

_MOST_WORDS: Final = 64
"""Of a question that are marked; a longer one is a text itself."""

_LEAST_STEM: Final = 4
"""Letters in which two forms of a word agree at least."""

# fmt: off
_STOP_WORDS: Final = frozenset({
    "a", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do", "does", "for",
    "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "no", "not", "of",
    "on", "or", "our", "should", "so", "than", "that", "the", "their", "them", "then", "there", "these", "they",
    "this", "those", "to", "us", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with",
    "would", "you", "your",
})
# fmt: on
"""English words that say nothing of what a text is about; marked only where a question has no other."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a text on one line.

    Attributes:
        text: with ``…`` where something is left out.
        marks: beginning and end of each of the question's words in it, in characters.
    """

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def snippet_of(text: str, question: str, *, characters: int = SNIPPET_CHARACTERS) -> Snippet:
    """The part of ``text`` that has most of the words of ``question``, the first of several."""
    line = " ".join(text.split())
    marks = list(_find(line, _words_of(question)))
    start, end = _part(line, marks, characters)
    before, after = "… " if start else "", " …" if end < len(line) else ""
    shift = len(before) - start
    return Snippet(
        f"{before}{line[start:end]}{after}",
        tuple((first + shift, last + shift) for first, last, _ in marks if first >= start and last <= end),
    )


def _words_of(question: str) -> list[str]:
    """The question's words as they are compared, each once."""
    words = list(dict.fromkeys(match[0].casefold() for match in _WORD.finditer(question)))
    telling = [word for word in words if word not in _STOP_WORDS]
    return (telling or words)[:_MOST_WORDS]


def _find(line: str, words: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Beginning, end and word of the question for each of its words in the line, in order."""
    within = [word for word in words if _UNSPACED.search(word)]
    known: dict[str, str | None] = {}
    for match in _WORD.finditer(line):
        there = match[0].casefold()
        if there not in known:
            known[there] = next((word for word in words if _are_forms(word, there)), None)
        if (word := known[there]) is not None:
            yield match.start(), match.end(), word
        elif within and len(there) == len(match[0]) and _UNSPACED.search(there):
            yield from _find_within(there, match.start(), within)


def _find_within(run: str, start: int, words: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """The same in a run of letters that has several words: pairs of letters that a word has too."""
    pairs = {word[at : at + 2]: word for word in words for at in range(max(1, len(word) - 1))}
    at = 0
    while at < len(run):
        end = at
        while run[end : end + 2] in pairs:
            end += 1
        if end == at:
            if (word := pairs.get(run[at])) is not None:
                yield start + at, start + at + 1, word
            at += 1
        else:
            end = min(end + 1, len(run))
            yield start + at, start + end, pairs[run[at : at + 2]]
            at = end


def _are_forms(one: str, other: str) -> bool:
    """Whether two words are the same, or forms of one as far as their beginnings tell: rotate, rotated, rotating."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if not short.isalpha() or not long.isalpha() or long in _STOP_WORDS:
        return False
    if long == f"{short}s":
        return len(short) > 1
    stem = short[:-1] if short.endswith("e") or len(short) > _LEAST_STEM + 1 else short
    return len(stem) >= _LEAST_STEM and long.startswith(stem) and len(long) - len(stem) <= _LEAST_STEM


def _part(line: str, marks: Sequence[tuple[int, int, str]], characters: int) -> tuple[int, int]:
    """Beginning and end of the part that has most different words, most words among those, and the first of these."""
    if len(line) <= characters:
        return 0, len(line)
    best, best_value = 0, (0, 0)
    last = 0
    for first, (begin, _, _) in enumerate(marks):
        last = max(last, first)
        while last < len(marks) and marks[last][1] <= begin + characters:
            last += 1
        value = (len({word for _, _, word in marks[first:last]}), last - first)
        if value > best_value:
            best, best_value = first, value
    if best_value == (0, 0):
        return 0, _end_of_word(line, characters)
    covered = marks[best : best + best_value[1]]
    # What stands around them, half on either side.
    begin, end = covered[0][0], covered[-1][1]
    start = max(0, begin - (characters - (end - begin)) // 2)
    start = _begin_of_word(line, start, begin) if start else 0
    return start, _end_of_word(line, max(start + characters, end))


def _begin_of_word(line: str, at: int, before: int) -> int:
    """The next place at which a word begins."""
    blank = line.find(" ", at - 1, before)
    return blank + 1 if blank >= 0 else at


def _end_of_word(line: str, at: int) -> int:
    """The place before at which a word ends, if it is near."""
    if at >= len(line):
        return len(line)
    blank = line.rfind(" ", max(0, at - 40), at + 1)
    return blank if blank > 0 else at
