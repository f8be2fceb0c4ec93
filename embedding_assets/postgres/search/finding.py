"""The chunks that answer a question, by its vector, by its words, or by both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from embedding_assets.errors import ConfigurationError, RowRefusedError
from embedding_assets.postgres.conditions import Condition, clause_of
from embedding_assets.postgres.search.common_words import CommonWords
from embedding_assets.postgres.search.facts import Facts, FactsCache, facts_of, facts_query, read_facts
from embedding_assets.postgres.search.found import Found
from embedding_assets.postgres.search.notes import is_any_left, note_on_filter, note_on_slow_filter, note_on_words
from embedding_assets.postgres.search.question import Words, words_of
from embedding_assets.postgres.search.scope import SPLIT_ROWS, Scope, scope_of
from embedding_assets.postgres.search.statement import (
    Outcome,
    Statement,
    outcome_of,
    rows_of_a_leg,
    set_for_transaction,
)
from embedding_assets.postgres.search.vector_leg import VectorLeg
from embedding_assets.postgres.search.word_leg import WordLeg
from embedding_assets.postgres.search_indexes import DEFAULT_LANGUAGE

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.conditions import Clause
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn

_facts: Final = FactsCache()
_common: Final = CommonWords()

_ATTEMPTS: Final = 3
"""An index may come or go while a question is asked, but not each time."""


def find_chunks(
    database: Database,
    *,
    column: SpaceColumn | None,
    vector: NDArray[np.float32] | None,
    words: str | None,
    limit: int,
    where: Sequence[Condition],
    index: IndexConfig,
    language: str = DEFAULT_LANGUAGE,
    missing_in: SpaceColumn | None = None,
) -> Found:
    """The ``limit`` chunks that fit best: nearest to a vector, by their words, or by both ranks together.

    In one round trip to the database, as long as its indexes are those of the last time.

    By the vector index that is there, of whatever type, and by the exact distance among what it finds. With a filter it
    is scanned on until enough rows pass; what then is missing is looked for without it. Where another index finds the
    few rows that a filter leaves, their distances are computed instead.

    Args:
        database: where.
        column: the space of ``vector``, in whose column is searched; None without a vector.
        vector: of the question, shape (dimensions,); None: it is not searched by vectors.
        words: the question itself; None: it is not searched by words.
        limit: how many.
        where: what must hold of a chunk.
        index: how thoroughly to search the vector index.
        language: text search configuration by which words are split.
        missing_in: only chunks that have no vector in this other space.

    Raises:
        ConfigurationError: a condition names no column or has a value that does not fit it, or the server knows no such
            text search configuration.
    """
    search = _Search(
        database,
        column if vector is not None else None,
        vector,
        words_of(words) if words is not None else None,
        limit,
        tuple(clause_of(database.table, condition, f"where{number}") for number, condition in enumerate(where)),
        index,
        language,
        missing_in,
    )
    started = time.monotonic()
    try:
        facts, outcome, was_exact = search.run()
    except RowRefusedError as error:
        # Nothing is written: it can only be a value of a condition.
        raise ConfigurationError(f"--where: a value does not fit its column: {error}") from None
    notes = []
    if search.words is not None and (note := note_on_words(facts, outcome, SPLIT_ROWS)):
        notes.append(note)
    if where and not outcome.chunks and (note := search.note_on_filter(where, outcome)):
        notes.append(note)
    if where and was_exact and (note := note_on_slow_filter(facts, search.clauses, time.monotonic() - started)):
        notes.append(note)
    return Found(outcome.chunks, tuple(notes))


@dataclass(frozen=True, slots=True)
class _Search:
    """A question as it is put to the database; the arguments of ``find_chunks``."""

    database: Database
    column: SpaceColumn | None
    vector: NDArray[np.float32] | None
    words: Words | None
    limit: int
    clauses: tuple[Clause, ...]
    index: IndexConfig
    language: str
    missing_in: SpaceColumn | None

    @property
    def wanted(self) -> int:
        """Rows that each leg is to find."""
        return rows_of_a_leg(self.limit) if self.column is not None and self.words is not None else self.limit

    def run(self) -> tuple[Facts, Outcome, bool]:
        """What was found, by which facts, and whether without the index of vectors in the end."""
        facts = _facts.get(self.database, self.column, self.language)
        facts = facts or read_facts(self.database, self.column, self.language)
        for _ in range(_ATTEMPTS):
            known = facts
            facts, outcome = self._ask(known)
            if facts == known:
                break
        if self._is_short(facts, outcome):
            return *self._ask(replace(facts, form=None)), True
        return facts, outcome, facts.form is None or outcome.is_whole

    def note_on_filter(self, where: Sequence[Condition], outcome: Outcome) -> str | None:
        """The reason why nothing was found with this filter, as far as it is known."""
        scope = Scope(self.database.table, self.clauses, self.missing_in, 0)
        if not is_any_left(self.database, scope, outcome):
            return note_on_filter(self.database, where)
        lacks = ["has a vector yet"] if self.column is not None else []
        lacks += ["has a word of the question"] if self.words is not None and outcome.has_words else []
        return f"chunks fulfil the conditions, but none of them {' or '.join(lacks)}" if lacks else None

    def _is_short(self, facts: Facts, outcome: Outcome) -> bool:
        """Whether the index of vectors gave up before it had found enough."""
        if facts.form is None or self.column is None:
            return False
        return not outcome.is_whole and outcome.candidates < facts.form.fewest(self.limit)

    def _ask(self, facts: Facts) -> tuple[Facts, Outcome]:
        """What is found by some facts, and the facts as they are by then."""
        statement = self._statement(facts)
        if statement.near is None and statement.said is None:
            return facts, Outcome((), None, is_guessed=False, is_whole=False, candidates=0, has_words=False)
        table = self.database.table
        values: dict[str, Any] = {"k": self.wanted, "limit": self.limit, **statement.scope.parameters}
        if statement.near is not None:
            assert self.vector is not None
            values |= statement.vector_parameters(self.vector, self.wanted, self.index)
        if statement.said is not None:
            assert self.words is not None
            common = _common.of(self.database, facts) if statement.said.has_index else {}
            values |= statement.said.parameters(self.words, common)
        counting = [(statement.scope.counting, statement.scope.parameters)] if statement.scope.few else []
        _, [read], *counted, rows = self.database.read(
            [
                (set_for_transaction(statement.settings(self.wanted, self.index)), {}),
                facts_query(self.language, table),
                *counting,
                (statement.query, values),
            ]
        )
        fresh = facts_of(read, table, self.column)
        if fresh is None:  # the configuration was dropped since
            fresh = read_facts(self.database, self.column, self.language)
        _facts.put(self.database, self.column, self.language, fresh)
        return fresh, outcome_of(rows, statement.scope, counted[0][0][0] if counted else None)

    def _statement(self, facts: Facts) -> Statement:
        scope = scope_of(self.database.table, self.clauses, self.missing_in, facts, self.wanted)
        near = said = None
        if self.column is not None:
            near = VectorLeg(scope, self.column, facts.form)
        if self.words is not None and facts.words.columns and (facts.looks_up_words or facts.is_small or scope.few):
            said = WordLeg(scope, facts.words, facts, facts.looks_up_words, self.wanted)
        return Statement(scope, near, said, self.limit)
