"""What a search must know before it is worded: the indexes that are there, and about how many rows."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.identifiers import unquoted
from embedding_assets.postgres.catalog import IndexRow, form_of, state_of
from embedding_assets.postgres.search_indexes import (
    IS_UNICODE,
    LANGUAGE,
    SOURCE_INDEX,
    TEXT_COLUMNS,
    text_parameters,
    unknown_language,
    word_index,
)

if TYPE_CHECKING:
    from embedding_assets.postgres.conditions import Clause
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.index_form import IndexForm
    from embedding_assets.postgres.search_indexes import WordIndex
    from embedding_assets.postgres.table import Table
    from embedding_assets.spaces import SpaceColumn

READ_ROWS: Final = 2000
"""Of a table whose texts are split for each question where it has no index of its words: some tenths of a second."""

_KEPT_SECONDS: Final = 60.0
"""Facts are read beside every answer, and the question asked again where they were others; so that is for memory."""

_MOST_KEPT: Final = 100

_ROWS_A_PAGE: Final = 5
"""Taken of a table that was never analyzed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The state of a table, as far as it decides how a question is put.

    Attributes:
        words: the index of its words that there is to be.
        form: of the vector index that is there; None: distances are computed for all rows.
        has_words: whether the index of words is there.
        indexed: columns by whose indexes of values PostgreSQL finds rows, and ``source`` and ``origin`` of documents.
        contained: columns by whose indexes of elements it does.
        is_guarded: row-level security holds for this role, under which PostgreSQL searches no words by an index.
        is_small: whether its texts can be split for each question.
        rows: about how many there are.
    """

    words: WordIndex
    form: IndexForm | None
    has_words: bool
    indexed: frozenset[str]
    contained: frozenset[str]
    is_guarded: bool
    is_small: bool
    rows: int = field(compare=False)

    @property
    def looks_up_words(self) -> bool:
        """Whether rows are found by their words through the index."""
        return self.has_words and not self.is_guarded

    def finds(self, clause: Clause) -> bool:
        """Whether the rows of a condition are found by an index."""
        if clause.indexable is None:
            return False
        if clause.is_contained:
            return clause.indexable in self.contained and not self.is_guarded
        return clause.indexable in self.indexed


_OF_DOCUMENTS: Final = {SOURCE_INDEX: "source", "idx_knowledge_origin": "origin"}

_QUERY: Final = """
    WITH relation AS (SELECT to_regclass(format('%%I.%%I', %(schema)s::text, %(name)s::text)) AS oid),
    indexes AS (
        SELECT c.relname, a.amname, i.indisvalid, i.indpred IS NULL AS is_whole, i.indkey[0] = 0 AS is_expression,
               pg_get_indexdef(c.oid, 1, false) AS key, opcname, coalesce(c.reloptions, '{{}}') AS options
        FROM relation r JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am a ON a.oid = c.relam JOIN pg_opclass o ON o.oid = i.indclass[0] WHERE i.indisvalid
    )
    SELECT ({language}), ({columns}), {is_unicode}, (SELECT row_security_active(oid) FROM relation),
           (SELECT sum(CASE WHEN reltuples > 0 AND relpages > 0 THEN reltuples / relpages ELSE {rows_a_page} END
                       * pg_relation_size(c.oid) / current_setting('block_size')::integer)
            FROM pg_class c WHERE relkind = 'r' AND c.oid IN (
                SELECT oid FROM relation UNION ALL SELECT relid FROM relation, pg_partition_tree(oid)
            )),
           coalesce((SELECT json_agg(indexes) FROM indexes), '[]')
"""


class FactsCache:
    """The facts of each table and space as they were last seen, by database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: weakref.WeakKeyDictionary[Any, dict[Any, tuple[float, Facts]]] = weakref.WeakKeyDictionary()

    def get(self, database: Database, column: SpaceColumn | None, language: str) -> Facts | None:
        """Those of a while ago; None if there are none."""
        with self._lock:
            kept = self._kept.get(database, {}).get((database.table, column, language))
        return kept[1] if kept and time.monotonic() - kept[0] < _KEPT_SECONDS else None

    def put(self, database: Database, column: SpaceColumn | None, language: str, facts: Facts) -> None:
        """Keep them for the next question."""
        with self._lock:
            of_database = self._kept.setdefault(database, {})
            if len(of_database) >= _MOST_KEPT:
                of_database.clear()
            of_database[database.table, column, language] = (time.monotonic(), facts)


def facts_query(language: str, table: Table) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement that reads the facts, and its parameters."""
    query = sql.SQL(_QUERY).format(
        language=sql.SQL(LANGUAGE),
        columns=sql.SQL(TEXT_COLUMNS),
        is_unicode=sql.SQL(IS_UNICODE),
        rows_a_page=sql.Literal(_ROWS_A_PAGE),
    )
    return query, text_parameters(table, language)


def read_facts(database: Database, column: SpaceColumn | None, language: str) -> Facts:
    """Read the facts in a round trip of their own.

    Raises:
        ConfigurationError: the server knows no such text search configuration.
    """
    table = database.table

    def work(connection: Connection) -> Facts:
        row = connection.execute(*facts_query(language, table)).fetchone()
        facts = facts_of(row, table, column)
        if facts is None:
            raise unknown_language(connection, language)
        return facts

    return database.run(work)


def facts_of(row: Any, table: Table, column: SpaceColumn | None) -> Facts | None:
    """The facts that a row of ``facts_query`` says; None without the language."""
    language, columns, is_unicode, is_guarded, rows, found = row
    if language is None:
        return None
    words = word_index(table, language, columns, is_unicode=is_unicode)
    indexes = [_Index(**one) for one in found]
    rows = round(rows or 0)
    return Facts(
        words=words,
        form=form_of([state_of(one.as_row()) for one in indexes if one.is_of_vectors], column, rows)
        if column
        else None,
        has_words=any(one.relname == words.name and one.amname == "gin" for one in indexes),
        indexed=frozenset(name for one in indexes if (name := one.orders(table))),
        contained=frozenset(one.column for one in indexes if one.has_elements),
        is_guarded=bool(is_guarded),
        is_small=rows <= READ_ROWS,
        rows=rows,
    )


@dataclass(frozen=True, slots=True)
class _Index:
    """A valid index of the table, by its first key."""

    relname: str
    amname: str
    indisvalid: bool
    is_whole: bool
    is_expression: bool
    key: str
    opcname: str
    options: list[str]

    @property
    def is_of_vectors(self) -> bool:
        return self.amname == "hnsw" and self.is_whole

    @property
    def column(self) -> str:
        return unquoted(self.key)

    @property
    def has_elements(self) -> bool:
        """Whether it finds values by what they contain."""
        return self.amname == "gin" and self.is_whole and not self.is_expression

    def orders(self, table: Table) -> str | None:
        """The column whose values it finds, or what of a document."""
        if self.amname not in ("btree", "hash") or not self.is_whole:
            return None
        if table.is_own and self.relname in _OF_DOCUMENTS:
            return _OF_DOCUMENTS[self.relname]
        return None if self.is_expression else self.column

    def as_row(self) -> IndexRow:
        """As the catalog's own queries have it."""
        return (
            self.relname,
            self.indisvalid,
            self.opcname,
            self.options,
            self.amname,
            self.is_expression,
            self.key,
        )
