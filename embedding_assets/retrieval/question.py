"""A question, and how it is to be answered."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from numbers import Real
from typing import Final, get_args

from embedding_assets.config import SearchMode
from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.conditions import Condition

MOST_RESULTS: Final = 1000
"""Largest ``k``."""

MOST_CONTEXT: Final = 10
"""Largest ``context``."""

_NO_TEXT: Final = re.compile("[\x00\ud800-\udfff]+")
"""NUL, and halves of pairs: Python's stand-ins for bytes of an argument that are no UTF-8."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        text: in plain words, or an identifier.
        k: how many chunks, 1 to ``MOST_RESULTS``.
        mode: by what the chunks are ranked: ``hybrid``, ``vector`` or ``text``; default: as configured.
        where: what must hold of each of them.
        min_score: least similarity; chunks that hold every word of the question need not have it where those are words
            of few texts, or an identifier among them.
        context: neighbours within the document to show on either side of a chunk, 0 to ``MOST_CONTEXT``.
        rerank: whether the configured reranker puts the first chunks in order.
        space: name of the vector space to ask in, or its beginning; default: the one that serves searches.
        ef_search: how thoroughly the vector index is searched, 1 to 1,000; default: as configured.
        compare: whether the answer says how chunks picked at random score, which takes a query more now and then.

    Raises:
        ConfigurationError: the text is blank, or another value is out of bounds or of another type.
    """

    text: str
    k: int = 5
    mode: SearchMode | None = None
    where: tuple[Condition, ...] = ()
    min_score: float | None = None
    context: int = 0
    rerank: bool = False
    space: str | None = None
    ef_search: int | None = None
    compare: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if not self.text.strip():
            raise ConfigurationError("the query is empty")
        if not self.plain_text:
            raise ConfigurationError("the query has no character that is text: only NUL, or bytes that are no UTF-8")
        if self.k < 1:
            raise ConfigurationError(f"k is {self.k}, but a search returns at least 1 chunk")
        if self.k > MOST_RESULTS:
            raise ConfigurationError(f"k is {self.k}, but a search returns at most {MOST_RESULTS:,} chunks")
        if self.mode is not None and self.mode not in get_args(SearchMode):
            raise ConfigurationError(f"mode is {self.mode!r}, but there are {', '.join(get_args(SearchMode))}")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise ConfigurationError(f"min_score is {self.min_score}, but no chunk has such a score")
        if not 0 <= self.context <= MOST_CONTEXT:
            raise ConfigurationError(f"context is {self.context}, but 0 to {MOST_CONTEXT} neighbours can be shown")
        if self.ef_search is not None and not 1 <= self.ef_search <= 1000:
            raise ConfigurationError(f"ef_search is {self.ef_search}, but pgvector takes 1 to 1,000")

    def _check_types(self) -> None:
        """Refuse what annotations do not keep out; an error further down would say nothing of the question."""
        for name, value in (("query", self.text), *([] if self.space is None else [("space", self.space)])):
            if not isinstance(value, str):
                raise ConfigurationError(f"the {name} is {type(value).__name__}, but it must be a text")
        for name in ("k", "context", *([] if self.ef_search is None else ["ef_search"])):
            if not _is_whole(getattr(self, name)):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}, but it must be a whole number")
        if self.min_score is not None and (isinstance(self.min_score, bool) or not isinstance(self.min_score, Real)):
            raise ConfigurationError(f"min_score is {self.min_score!r}, but it must be a number")
        if not isinstance(self.where, tuple) or not all(isinstance(one, Condition) for one in self.where):
            raise ConfigurationError("where is not a tuple of conditions; conditions_of makes one")

    @property
    def plain_text(self) -> str:
        """The text without what neither a model nor PostgreSQL reads."""
        return _NO_TEXT.sub(" ", self.text).strip()

    @property
    def is_cut(self) -> bool:
        """Whether ``plain_text`` lacks something of ``text``."""
        return _NO_TEXT.search(self.text) is not None


def _is_whole(value: object) -> bool:
    """Whether it counts something, as an integer of whatever library does."""
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
