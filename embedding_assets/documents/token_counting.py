"""Tokens of texts, counted word by word where that is exact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, filterfalse
from typing import Final

from tokenizers import Tokenizer

_REMEMBERED_WORDS: Final = 200_000
_LONGEST_WORD: Final = 100
_WORD: Final = re.compile(rf"\s?\S{{1,{_LONGEST_WORD}}}|\s+")
_MARKS: Final = r"!-/:-@\[-`{-~"
_MARK: Final = re.compile(f"[{_MARKS}]")
_PART: Final = re.compile(rf"[{_MARKS}]|[^{_MARKS}]+")
_PLAIN: Final = re.compile("[A-Za-z0-9]+")
_WORD_ALONE: Final = re.compile(rf"\S{{1,{_LONGEST_WORD}}}")
_NO_SPACES_OF_TOKENIZERS: Final = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"
"""Each parts words by Python's rules, and is removed, or kept within a word by those of tokenizers."""


class TokenCounter:
    """Counts tokens by one tokenizer; may be shared by threads.

    A text has as many as its words have, looked up ten times as quickly as they are tokenized, where the tokenizer
    takes each word by itself, as BERT's does.

    Args:
        tokenizer: without truncation and padding.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._specials: int = tokenizer.num_special_tokens_to_add(is_pair=False)
        self._is_by_words = _is_by_words(tokenizer)
        # Special tokens, which may be written within a word, and what they begin with.
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._added = re.compile("|".join(map(re.escape, added)), re.IGNORECASE)
        self._openings = {content[:1] for content in added}
        self._is_by_parts = self._is_by_words and all(map(_MARK.match, self._openings))
        self._known: dict[str, int] = {}
        self._model = tokenizer.model
        self._is_lowered = self._is_by_parts and tokenizer.normalizer.lowercase

    def about(self, text: str) -> int:
        """The sum of the words' tokens, without special ones: exact, or nearly, since few tokenizers join words."""
        return self._sum(self._words(text))

    def exact(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, special ones included."""
        counts = [self._exact(text) if self._is_by_words else None for text in texts]
        rest = [text for text, count in zip(texts, counts, strict=True) if count is None]
        encodings = iter(self._tokenizer.encode_batch_fast(rest) if rest else ())
        return [len(next(encodings)) if count is None else count for count in counts]

    def plain(self, text: str) -> int:
        """The tokens of a text, without special ones."""
        count = self._exact(text) if self._is_by_words else None
        if count is None:
            [count] = self.exact([text])
        return count - self._specials

    def _exact(self, text: str) -> int | None:
        if any(map(text.__contains__, _NO_SPACES_OF_TOKENIZERS)):
            return None
        words = text.split()
        if max(map(len, words), default=0) >= _LONGEST_WORD:
            words = self._with_parts(words)
            if max(map(len, words)) >= _LONGEST_WORD:
                return None
        return self._specials + self._sum(words)

    def _with_parts(self, words: Sequence[str]) -> list[str]:
        """The same with the parts of long ones in their place: an address, or a line of a table, is not remembered."""
        parts = (self._parts(word) if len(word) >= _LONGEST_WORD else [word] for word in words)
        return list(chain.from_iterable(parts))

    def _words(self, text: str) -> list[str]:
        if not self._is_by_words:
            return _WORD.findall(text)
        words = text.split()
        return words if max(map(len, words), default=0) <= _LONGEST_WORD else _WORD_ALONE.findall(text)

    def _parts(self, word: str) -> list[str]:
        """What of a word the tokenizer takes by itself: it parts it at punctuation."""
        if not self._is_by_parts or not word.isascii():
            return [word]
        is_special = not self._openings.isdisjoint(word) and self._added.search(word)
        return [word] if is_special else _PART.findall(word)

    def _sum(self, words: Sequence[str]) -> int:
        try:
            return sum(map(self._known.__getitem__, words))
        except KeyError:
            return sum(map(self._learn(words).__getitem__, words))

    def _learn(self, words: Sequence[str]) -> dict[str, int]:
        """What is known then, of these words at least."""
        known = self._known
        if len(known) > _REMEMBERED_WORDS:
            # Replaced, not cleared: another thread may be summing over it.
            known = self._known = {}
        parts = {word: self._parts(word) for word in filterfalse(known.__contains__, dict.fromkeys(words))}
        unknown = list(filterfalse(known.__contains__, dict.fromkeys(chain.from_iterable(parts.values()))))
        if self._is_by_parts:
            plain = list(filter(_PLAIN.fullmatch, unknown))
            known.update((part, self._plain_tokens(part)) for part in plain)
            unknown = [part for part in unknown if part not in known]
        if unknown:
            encodings = self._tokenizer.encode_batch_fast(unknown, add_special_tokens=False)
            known.update(zip(unknown, map(len, encodings), strict=True))
        known.update((word, sum(map(known.__getitem__, of))) for word, of in parts.items())
        return known

    def _plain_tokens(self, part: str) -> int:
        """The tokens of letters and digits of ASCII, of which the tokenizer changes the case at most."""
        return len(self._model.tokenize(part.lower() if self._is_lowered else part))


def _is_by_words(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer takes each word by itself, whatever stands around it."""
    kinds = [type(part).__name__ for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)]
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not any(map(_has_space, added))


def _has_space(text: str) -> bool:
    return any(map(str.isspace, text))
