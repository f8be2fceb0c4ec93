"""Texts as an API is sent them: each once, none blank, none longer than a request may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

_LEAST_WORD: Final = 3
"""Characters of a word that is surely a token: servers that count by bytes count a quarter of a token for each."""

_LEAST_LIMIT: Final = 64
"""Tokens that every model reads: a server that reports fewer for each text counts something else."""


@dataclass(frozen=True, slots=True)
class ApiText:
    """A text of a call.

    Attributes:
        text: what is sent.
        size: its UTF-8 bytes.
        positions: where it stands in the call; several, if it occurs several times.
        truncated: whether its end was cut off.
    """

    text: str
    size: int
    positions: tuple[int, ...]
    truncated: bool = False

    @property
    def likely_tokens(self) -> int:
        """A quarter of a token a byte, as ``planning.estimate_api_tokens``."""
        return -(-self.size // 4)


def prepare_texts(
    texts: Sequence[str], *, max_tokens: int, too_long: str = "truncate", prompt: str = ""
) -> tuple[list[ApiText], dict[int, str]]:
    """The texts to send, in the order of their first occurrence, and the error codes of those that cannot be sent.

    Args:
        texts: of a call.
        max_tokens: likely tokens a request may have; a longer text is cut to that size before it is sent.
        too_long: ``truncate`` or ``quarantine``: what becomes of such a text.
        prompt: put before each.
    """
    positions: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        positions.setdefault(text, []).append(position)
    prepared: list[ApiText] = []
    errors: dict[int, str] = {}
    for text, where in positions.items():
        ready = _prepare(text, tuple(where), max_tokens, too_long, prompt)
        if isinstance(ready, ApiText):
            prepared.append(ready)
        else:
            errors |= dict.fromkeys(where, ready)
    return prepared, errors


def _prepare(text: str, positions: tuple[int, ...], max_tokens: int, too_long: str, prompt: str) -> ApiText | str:
    if not text.strip():
        return "blank_text"  # the API would refuse the whole request
    text = f"{prompt}{text}"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "invalid_unicode"
    ready = ApiText(text, size, positions)
    if ready.likely_tokens <= max_tokens:
        return ready
    return (cut_text(ready, max_tokens * 4) if too_long == "truncate" else None) or "too_long"


def cut_text(text: ApiText, size: int) -> ApiText | None:
    """The text's first ``size`` bytes, less if a character would be split; None: nothing readable is left."""
    beginning = text.text.encode()[:size].decode(errors="ignore")
    if not beginning.strip():
        return None
    return replace(text, text=beginning, size=len(beginning.encode()), truncated=True)


def next_size(size: int, *, requested_tokens: int | None, allowed_tokens: int) -> int:
    """Bytes to cut a text to that was refused as too long.

    Args:
        size: bytes it has.
        requested_tokens: its tokens as the refusal counts them; None: it does not say.
        allowed_tokens: tokens a text may have.
    """
    if requested_tokens and requested_tokens > allowed_tokens:
        # Tokens are not spread evenly, so a little less.
        return min(size - 1, size * allowed_tokens * 49 // (requested_tokens * 50))
    return min(size * 3 // 4, allowed_tokens * 4)


def share_tokens(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide the tokens of a request among its texts by their bytes; the parts sum up to the total."""
    whole, before, shares = sum(sizes), 0, []
    for size in sizes:
        after = before + size
        shares.append(total * after // whole - total * before // whole)
        before = after
    return shares


def least_tokens(text: str) -> int:
    """Tokens a text has at least, whatever the tokenizer: one for each word, since none in use joins words."""
    return sum(len(word) >= _LEAST_WORD for word in text.split())


def find_cut_length(least: Sequence[int], reported: int) -> int | None:
    """Tokens beyond which a server has cut the texts of a request; None where nothing shows that it did.

    The texts have more tokens than it reports to have read. If it reads at most so many of each, the parts that it read
    add up to no more than what it reports, so that is at most the length returned: a text with more tokens was cut.

    Args:
        least: tokens that each text has at least.
        reported: tokens of the request, by the server.
    """
    if sum(least) <= reported:
        return None
    rest, longer = reported, len(least)
    for tokens in sorted(least):
        if tokens * longer > rest:
            break
        rest -= tokens
        longer -= 1
    length = rest // longer
    return length if length >= _LEAST_LIMIT else None
