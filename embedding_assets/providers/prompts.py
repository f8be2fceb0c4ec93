"""Models that were trained with a text before every document or question, though their files may not say so."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Family:
    """Models by their names, the prompts that their makers ask for, and where they do."""

    names: str
    document: str
    query: str
    source: str


_FAMILIES: Final = (
    _Family(r"(^|[-/])(multilingual-)?e5-(small|base|large)", "passage: ", "query: ", "hf.co/intfloat/e5-base-v2"),
    _Family(
        r"(^|/)bge-(small|base|large)-en",
        "",
        "Represent this sentence for searching relevant passages: ",
        "hf.co/BAAI/bge-base-en-v1.5",
    ),
    _Family(
        r"nomic-embed-text",
        "search_document: ",
        "search_query: ",
        "hf.co/nomic-ai/nomic-embed-text-v1.5",
    ),
    _Family(
        r"(snowflake-)?arctic-embed(-(xs|s|m|l))?(:|$|-v1)",
        "",
        "Represent this sentence for searching relevant passages: ",
        "hf.co/Snowflake/snowflake-arctic-embed-m",
    ),
    _Family(r"(snowflake-)?arctic-embed.*-v2", "", "query: ", "hf.co/Snowflake/snowflake-arctic-embed-m-v2.0"),
    _Family(
        r"mxbai-embed-large",
        "",
        "Represent this sentence for searching relevant passages: ",
        "hf.co/mixedbread-ai/mxbai-embed-large-v1",
    ),
    _Family(
        r"embedding-?gemma", "title: none | text: ", "task: search result | query: ", "hf.co/google/embeddinggemma-300m"
    ),
    _Family(
        r"qwen3-embedding",
        "",
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        "hf.co/Qwen/Qwen3-Embedding-0.6B",
    ),
)


def known_prompts() -> list[str]:
    """Every prompt of a known family, each once: those for documents first."""
    prompts = [family.document for family in _FAMILIES] + [family.query for family in _FAMILIES]
    return [prompt for prompt in dict.fromkeys(prompts) if prompt]


@cache
def warn_of_missing_prompts(model: str, document_prompt: str, query_prompt: str) -> None:
    """Warn once in a process where a model of a known family is used without any prompt: it then finds less."""
    if document_prompt or query_prompt:
        return
    for family in _FAMILIES:
        if re.search(family.names, model.lower()):
            logger.warning(
                "model %s was trained with prompts, and none is set: searches find less than they could. Set "
                "EMBEDDING_DOCUMENT_PROMPT=%r and EMBEDDING_QUERY_PROMPT=%r (%s)",
                model,
                family.document,
                family.query,
                family.source,
            )
            return
