"""One statement for an answer: what each leg finds, fused by rank, with all that is shown of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pgvector import Vector
from psycopg import sql

from embedding_assets.postgres.index_form import plain_form
from embedding_assets.postgres.search.found import FoundChunk

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.search.scope import Scope
    from embedding_assets.postgres.search.vector_leg import VectorLeg
    from embedding_assets.postgres.search.word_leg import WordLeg
    from embedding_assets.postgres.table import Table

RANK_CONSTANT: Final = 10
"""k of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): how little the first ranks stand out.

They take 60. Of 5, 10, 20, 40 and 60 the best for each two of three judged collections, 5 or 10, is better than 60
on the third as well; nDCG@10 with 10 is 0.495, 0.561 and 0.489, with 60 it is 0.492, 0.539 and 0.472.
"""

_FEWEST_OF_A_LEG: Final = 50
_TIMES_LIMIT: Final = 5

_MOST_EF_SEARCH: Final = 1000
"""Largest hnsw.ef_search; for more rows the index is scanned on."""

_WORK_MEMORY_MB: Final = 32
"""For sorting, for the places of rows, and for what a scan of an index of vectors remembers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows that a statement returned.

    Attributes:
        chunks: best first.
        passing: rows that the filter leaves, where those were to be looked up first; counted no further than one more
            than a few, or guessed.
        is_guessed: whether they were guessed, which never says that there are none.
        is_whole: whether those were few, and all of them looked at.
        candidates: of the vector leg; 0 without one.
        has_words: whether the question has any word that is searched for.
    """

    chunks: tuple[FoundChunk, ...]
    passing: int | None
    is_guessed: bool
    is_whole: bool
    candidates: int
    has_words: bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A search as SQL.

    Attributes:
        scope: among which rows.
        near: the vector leg; None without a vector.
        said: the word leg; None without words.
        limit: rows wanted.
    """

    scope: Scope
    near: VectorLeg | None
    said: WordLeg | None
    limit: int

    @property
    def query(self) -> sql.Composed:
        """The statement; it returns one row at least, of which the last columns are NULL where nothing was found."""
        table = self.scope.table
        parts: list[sql.Composable] = [sql.SQL("WITH ")]
        if self.scope.few:
            parts.append(self.scope.chosen)
        legs = [leg.ctes for leg in (self.near, self.said) if leg is not None]
        parts.append(sql.SQL(", ").join(legs))
        unknown = sql.SQL("NULL::float8")
        outputs = [
            table.hash(), table.key_texts(), table.source(), table.body(), table.header(), table.metadata_of(),
            sql.SQL("coalesce(f.distance, nullif({}, 'NaN'))").format(self.near.distance) if self.near else unknown,
            sql.SQL("f.vector_rank"), sql.SQL("f.word_rank"),
            sql.SQL("f.word_rank IS NOT NULL AND {}").format(self.said.holds_all) if self.said else sql.SQL("false"),
            sql.SQL("f.is_named"), sql.SQL("f.nth"),
        ]  # fmt: skip
        named = [
            sql.SQL("{} AS {}").format(output, sql.Identifier(f"shown_{number}"))
            for number, output in enumerate(outputs)
        ]
        parts.append(
            sql.SQL("""
                , fused AS MATERIALIZED (
                    SELECT place, part, hash, min(distance) AS distance, min(vector_rank) AS vector_rank,
                           min(word_rank) AS word_rank, bool_or(is_named) AS is_named,
                           row_number() OVER (
                               ORDER BY min(word_rank) FILTER (WHERE is_named),
                                        sum(1::float8 / ({constant} + rank)) DESC, hash
                           ) AS nth
                    FROM ({ranked}) AS ranked GROUP BY place, part, hash ORDER BY nth LIMIT %(limit)s
                )
                SELECT {candidates} AS candidates, {has_words} AS has_words, shown.*
                FROM (SELECT) AS always LEFT JOIN (SELECT {outputs} FROM fused f {join}) AS shown ON true
                ORDER BY {nth}
            """).format(
                constant=sql.Literal(RANK_CONSTANT),
                ranked=self._ranked,
                candidates=sql.SQL("(SELECT coalesce(max(candidates), 0) FROM near)" if self.near else "0"),
                has_words=sql.SQL("EXISTS (SELECT FROM question)" if self.said else "false"),
                outputs=sql.SQL(", ").join(named),
                join=self.scope.joined("f"),
                nth=sql.Identifier("shown", f"shown_{len(outputs) - 1}"),
            )
        )
        return sql.Composed(parts)

    @property
    def _ranked(self) -> sql.Composed:
        near = sql.SQL("""
            SELECT place, part, hash, distance, rank AS vector_rank, NULL::bigint AS word_rank, rank,
                   false AS is_named
            FROM near_ranked
        """)
        said = sql.SQL("""
            SELECT place, part, hash, NULL::float8 AS distance, NULL::bigint AS vector_rank, rank AS word_rank, rank,
                   {} AS is_named
            FROM said_ranked
        """).format(sql.SQL("is_named" if self.near else "false"))
        rankings = [ranking for ranking, leg in ((near, self.near), (said, self.said)) if leg is not None]
        return sql.SQL(" UNION ALL ").join(rankings)

    def vector_parameters(self, vector: NDArray[np.float32], wanted: int, index: IndexConfig) -> dict[str, Any]:
        """The values of the vector leg."""
        assert self.near is not None
        form = self.near.form or plain_form(self.near.column)
        return {"vector": Vector(vector), "candidates": form.candidates(wanted, index.ef_search)}

    def settings(self, wanted: int, index: IndexConfig) -> dict[str, str]:
        """PostgreSQL's settings for the transaction.

        An index is scanned on until enough rows pass the filter (hnsw.iterative_scan, pgvector 0.8). Without an index
        of vectors none may answer in its place, such as one of another expression.
        """
        settings = {"jit": "off"}
        if self.scope.few and not self.scope.guessed_of:
            # The rows of the filter are few, or are not looked for by it: an index finds them, whatever is estimated.
            settings["enable_seqscan"] = "off"
        if self.near is None:
            return settings
        form = self.near.form or plain_form(self.near.column)
        examined = max(index.ef_search, form.candidates(wanted, index.ef_search))
        return {
            **settings,
            "hnsw.ef_search": str(min(_MOST_EF_SEARCH, examined)),
            "hnsw.iterative_scan": "strict_order",
            **({} if self.near.form else {"enable_indexscan": "off"}),
        }


def set_for_transaction(settings: dict[str, str]) -> sql.Composed:
    """A statement that sets them until the transaction ends."""
    changes = [
        sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
        for name, value in settings.items()
    ]
    memory = sql.SQL("""
        set_config(
            'work_mem', greatest({}, pg_size_bytes(current_setting('work_mem')) / 1024)::integer::text, true
        )
    """).format(sql.Literal(_WORK_MEMORY_MB * 1024))
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join([*changes, memory]))


def rows_of_a_leg(limit: int) -> int:
    """Rows that each of two legs finds, to be fused."""
    return max(_FEWEST_OF_A_LEG, _TIMES_LIMIT * limit)


def outcome_of(rows: list[tuple[Any, ...]], scope: Scope, passing: int | None) -> Outcome:
    """What the rows of a statement say.

    Args:
        rows: as returned.
        scope: in which was searched.
        passing: rows that the filter leaves, if they were counted or guessed.
    """
    candidates, has_words, *_ = rows[0]
    found = [row[2:] for row in rows if row[2] is not None]
    is_whole = passing is not None and passing <= scope.few
    chunks = tuple(_chunk(scope.table, row) for row in found)
    return Outcome(chunks, passing, scope.guessed_of > 0, is_whole, candidates, has_words)


def _chunk(table: Table, row: tuple[Any, ...]) -> FoundChunk:
    chunk_hash, key, source, text, header, metadata, distance, vector_rank, word_rank, holds_all, is_named, _ = row
    return FoundChunk(
        chunk_hash=chunk_hash,
        key=dict(zip((column.name for column in table.key), key, strict=True)),
        source=source,
        text=text,
        header=header,
        metadata=metadata if isinstance(metadata, dict) else {},  # an adopted table may hold any JSON
        distance=distance,
        vector_rank=vector_rank,
        text_rank=word_rank,
        holds_all_words=holds_all,
        is_named=is_named,
    )
