"""Words that are in very many rows of a table, so that they tell little and are not to be looked up alone."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.postgres.samples import table_sample
from embedding_assets.postgres.search.word_leg import LOOKED_UP

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.search.facts import Facts

_SAMPLE_ROWS: Final = 500
"""Texts that are split, some 50 ms. A word of two hundredths of the rows is in ten of them."""

_KEPT_SECONDS: Final = 900.0
_MOST_KEPT: Final = 50


class CommonWords:
    """The shares of rows that have each common word, by database and table; read now and then from a few rows.

    PostgreSQL's own statistics of an index's expression are shown to its owner alone, and a search needs to read the
    table and no more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: weakref.WeakKeyDictionary[Any, dict[str, tuple[float, dict[str, float]]]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, database: Database, facts: Facts) -> Mapping[str, float]:
        """The words that more rows have than are looked up for one; none in a table of fewer rows."""
        if facts.rows <= LOOKED_UP:
            return {}
        name = f"{facts.words.table}\x1f{facts.words.name}"
        with self._lock:
            kept = self._kept.get(database, {}).get(name)
        if kept and time.monotonic() - kept[0] < _KEPT_SECONDS:
            return kept[1]
        shares = _read(database, facts)
        with self._lock:
            of_database = self._kept.setdefault(database, {})
            if len(of_database) >= _MOST_KEPT:
                of_database.clear()
            of_database[name] = (time.monotonic(), shares)
        return shares


def _read(database: Database, facts: Facts) -> dict[str, float]:
    """The shares of the words that more rows of a sample have than would be looked up, and that two of them have."""
    table = facts.words.table
    query = sql.SQL("""
        WITH sampled AS MATERIALIZED (
            SELECT {words} AS words FROM {sample} WHERE {condition} LIMIT {rows}
        )
        SELECT w.lexeme, count(*)::float8 / (SELECT count(*) FROM sampled) AS share
        FROM sampled CROSS JOIN LATERAL unnest(words) AS w GROUP BY 1
        HAVING count(*) > 1 AND count(*)::float8 / (SELECT count(*) FROM sampled) > {share}
    """).format(
        words=facts.words.vector(),
        sample=table_sample(table, _SAMPLE_ROWS),
        condition=table.condition,
        rows=sql.Literal(_SAMPLE_ROWS),
        share=sql.Literal(LOOKED_UP / facts.rows),
    )
    [rows] = database.read([(query, {})])
    return dict(rows)
