"""What is logged of a server: its requests, and once in a process for each model what it does to texts silently."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Final

from embedding_assets.formatting import counted
from embedding_assets.providers.openai.outcomes import Outcome
from embedding_assets.providers.openai.texts import ApiText, find_cut_length, least_tokens

logger = logging.getLogger(__name__)

_cutting: Final[set[tuple[str, str]]] = set()


def find_cut_texts(server: str, model: str, texts: Sequence[ApiText], reported_tokens: int) -> set[int]:
    """Find the texts of a request that the server must have cut, by the tokens it reports for it.

    Returns:
        Their positions among ``texts``.
    """
    if reported_tokens >= sum(text.likely_tokens for text in texts):
        return set()  # a word that counts as a token takes four bytes
    least = [least_tokens(text.text) for text in texts]
    length = find_cut_length(least, reported_tokens)
    if length is None:
        return set()
    if (server, model) not in _cutting:
        _cutting.add((server, model))
        logger.warning(
            "the embeddings API at %s seems to read %d tokens of a text with model %s, and cuts longer ones silently: "
            "it reports fewer tokens than the texts have words. They are counted as truncated; make chunks shorter, "
            "and set EMBEDDING_OPENAI_MAX_INPUT_TOKENS to what the model reads",
            server,
            length,
            model,
        )
    return {index for index, tokens in enumerate(least) if tokens > length}


@cache
def note_other_lengths(server: str, model: str) -> None:
    """Log that vectors do not have unit length as they come."""
    logger.info(
        "the embeddings API at %s sends vectors of %s that are not of unit length; they are normalized", server, model
    )


def log_request(outcome: Outcome, texts: int, tokens: int, usd: float, milliseconds: int) -> None:
    """Log a request; what was answered at DEBUG, since a night of loading has thousands of them."""
    logger.log(
        logging.DEBUG if outcome.kind == "answered" else logging.INFO,
        "request of %s: %s in %d ms",
        counted(texts, "text"),
        outcome.reason,
        milliseconds,
        extra={
            "inputs": texts,
            "tokens": tokens,
            "usd": usd,
            "milliseconds": milliseconds,
            "status": outcome.status,
            "outcome": outcome.kind,
        },
    )
