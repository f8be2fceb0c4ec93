"""Texts to tokens, cut to what a model reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tokenizers import Tokenizer

_TOGETHER: Final = 128
"""Texts of one call: what the tokenizers return takes some fifty times the memory of the ids."""

_USUAL_CHARACTERS_PER_TOKEN: Final = 32


@dataclass(frozen=True, slots=True)
class Role:
    """As what texts are embedded: with this prompt in front of each, as queries or as documents."""

    prompt: str = ""
    query: bool = False


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of one text, special tokens included, and whether the model reads less than the whole."""

    ids: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Beginning:
    """Tokens of a text's beginning, and whether more of the text would change nothing about them."""

    tokens: TokenizedText
    suffices: bool


class Tokens(ABC):
    """A tokenizer with a limit.

    Args:
        max_tokens: of a text, special tokens included.
    """

    def __init__(self, max_tokens: int) -> None:
        self._usual_characters = _USUAL_CHARACTERS_PER_TOKEN * max_tokens

    def of(self, texts: Sequence[str], role: Role) -> list[TokenizedText]:
        """Tokens of each text behind its prompt, cut to the limit."""
        tokens: list[TokenizedText] = []
        for start in range(0, len(texts), _TOGETHER):
            portion = texts[start : start + _TOGETHER]
            # Only the beginning of a long text: of 10 MB a tokenizer makes 1 GB, to throw nearly all of it away.
            beginnings = self._beginnings([text[: self._usual_characters] for text in portion], role)
            for text, beginning in zip(portion, beginnings, strict=True):
                tokens.append(self._extended(text, beginning, role).tokens)
        return tokens

    def _extended(self, text: str, beginning: Beginning, role: Role) -> Beginning:
        """Of more of the text, until what the model reads ends well before the cut, or of all of it."""
        size = self._usual_characters
        while len(text) > size and not beginning.suffices:
            size *= 8
            [beginning] = self._beginnings([text[:size]], role)
        return beginning

    @abstractmethod
    def _beginnings(self, texts: Sequence[str], role: Role) -> list[Beginning]:
        """Tokens of these texts behind their prompt."""


class FastTokens(Tokens):
    """Tokens by the tokenizer in a model's files."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__(max_tokens)
        self._tokenizer = tokenizer
        self._tokenizer.enable_truncation(max_tokens)

    def _beginnings(self, texts: Sequence[str], role: Role) -> list[Beginning]:
        encodings = self._tokenizer.encode_batch_fast([f"{role.prompt}{text}" for text in texts])
        return [
            Beginning(
                TokenizedText(encoding.ids, bool(encoding.overflowing)),
                suffices=bool(encoding.overflowing) and len(encoding.overflowing[0]) == len(encoding),
            )
            for encoding in encodings
        ]
