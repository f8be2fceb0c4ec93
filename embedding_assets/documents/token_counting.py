"""Tokens of texts, counted word by word where that is exact."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer

_REMEMBERED_WORDS: Final = 200_000
_LONGEST_WORD: Final = 100
_WORD: Final = re.compile(rf"\s?\S{{1,{_LONGEST_WORD}}}|\s+")
_NO_SPACE_OF_TOKENIZERS: Final = re.compile(r"[\x0b\x0c\x1c-\x1f\x85]")
"""What parts words by Python's rules, and is removed or kept within a word by those of tokenizers."""


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
        self._known: dict[str, int] = {}

    def about(self, text: str) -> int:
        """The sum of the words' tokens, without special ones: exact, or nearly, since few tokenizers join words."""
        return self._sum(_WORD.findall(text))

    def exact(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, special ones included."""
        counts = [self._exact(text) if self._is_by_words else None for text in texts]
        rest = [text for text, count in zip(texts, counts, strict=True) if count is None]
        encodings = iter(self._tokenizer.encode_batch_fast(rest) if rest else ())
        return [len(next(encodings)) if count is None else count for count in counts]

    def plain(self, text: str) -> int:
        """The tokens of a text, without special ones."""
        return self.exact([text])[0] - self._specials

    def _exact(self, text: str) -> int | None:
        words = _WORD.findall(text)
        # A longer word comes in parts, which are words of their own to the tokenizer.
        if _NO_SPACE_OF_TOKENIZERS.search(text) or max(map(len, words), default=0) >= _LONGEST_WORD:
            return None
        return self._specials + self._sum(words)

    def _sum(self, words: Sequence[str]) -> int:
        known = self._known
        if len(known) > _REMEMBERED_WORDS:
            # Replaced, not cleared: another thread may be summing over it.
            known = self._known = {}
        unknown = [word for word in dict.fromkeys(words) if word not in known]
        if unknown:
            encodings = self._tokenizer.encode_batch_fast(unknown, add_special_tokens=False)
            known.update(zip(unknown, map(len, encodings), strict=True))
        return sum(map(known.__getitem__, words))


def _is_by_words(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer takes each word by itself, whatever stands around it."""
    kinds = [type(part).__name__ for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.model)]
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not any(map(_has_space, added))


def _has_space(text: str) -> bool:
    return any(map(str.isspace, text))
