"""Rows of the table that is kept embedded, found by keys that came from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psycopg import errors as pg
from psycopg import sql
from psycopg.types.json import Jsonb

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.backlog import PendingChunk
from embedding_assets.postgres.foreign.relation import columns_of

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

_MOST_ALTERNATIVES = 12
"""Other columns of a row whose text may be what was embedded."""

_TEXTS = ("text", "character varying", "character", "citext")

_WANTED = sql.SQL("jsonb_to_recordset(%(keys)s) AS wanted (place integer, key text[])")


@dataclass(frozen=True, slots=True)
class Match:
    """A row that has a key.

    Attributes:
        row: with its fingerprint, and without its text.
        is_embedded: whether it has a vector in the column already.
    """

    row: PendingChunk
    is_embedded: bool


@dataclass(frozen=True, slots=True)
class RowTexts:
    """What is embedded of a row, and what else of it might have been: name → text."""

    text: str = field(repr=False)
    others: dict[str, str] = field(repr=False)


def match_keys(
    connection: Connection, table: Table, column: str | None, keys: Sequence[tuple[str, ...]]
) -> dict[int, Match]:
    """The rows that have these keys, by the keys' positions; as the connection's snapshot has them.

    Args:
        connection: in a transaction.
        table: the one that is kept embedded.
        column: of the space; None: it is not there yet.
        keys: texts of the columns of the table's key.

    Raises:
        ConfigurationError: a key is no value of the key's type.
    """
    query = sql.SQL("""
        SELECT place, {hash}, {key}, {fingerprint}, {is_embedded} FROM {wanted} JOIN {rows} k ON {same_row}
    """).format(
        hash=table.hash(),
        key=table.key_texts(),
        fingerprint=table.fingerprint(),
        is_embedded=sql.SQL("k.{} IS NOT NULL").format(sql.Identifier(column)) if column else sql.SQL("false"),
        wanted=_WANTED,
        rows=table.rows,
        same_row=table.key_equals(sql.SQL("wanted.key")),
    )
    # Through the key's index, whatever the planner makes of a table without statistics.
    connection.execute("SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)")
    try:
        found = connection.execute(query, {"keys": _as_json(keys)}).fetchall()
    except pg.DataError:
        types = ", ".join(f"{column.name} ({column.type})" for column in table.key)
        raise ConfigurationError(
            f"the keys are not ones of {table}, whose key is {types}; name them by --key"
        ) from None
    return {
        place: Match(PendingChunk(chunk_hash, "", fingerprint, tuple(key)), is_embedded)
        for place, chunk_hash, key, fingerprint, is_embedded in found
    }


def read_texts(
    connection: Connection, table: Table, keys: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], RowTexts]:
    """The texts of rows by their keys, as the connection's snapshot has them."""
    names = ["context_header", "chunk_text"]
    if not table.is_own:
        types = columns_of(connection, table.oid)
        names = [name for name, kind in types.items() if kind in _TEXTS][:_MOST_ALTERNATIVES]
    pairs = [sql.SQL("{}, {}").format(sql.Literal(_escaped(n)), sql.Identifier("k", _escaped(n))) for n in names]
    query = sql.SQL("SELECT {key}, {text}, jsonb_build_object({others}) FROM {wanted} JOIN {rows} k ON {same}").format(
        key=table.key_texts(),
        text=table.text(),
        others=sql.SQL(", ").join(pairs),
        wanted=_WANTED,
        rows=table.rows,
        same=table.key_equals(sql.SQL("wanted.key")),
    )
    rows = connection.execute(query, {"keys": _as_json(keys)}).fetchall()
    return {tuple(key): RowTexts(text, {n: t for n, t in others.items() if t}) for key, text, others in rows}


def fingerprints(connection: Connection, texts: Sequence[str]) -> list[str]:
    """As ``Table.fingerprint`` of rows with these texts."""
    query = "SELECT md5(text) FROM unnest(%s::text[]) WITH ORDINALITY AS t (text, place) ORDER BY place"
    return [digest for (digest,) in connection.execute(query, [list(texts)])]


def take_vectors(database: Database, column: str, rows: Sequence[tuple[tuple[str, ...], NDArray[np.float32]]]) -> int:
    """Set the vectors of these rows to NULL where they still are the ones that are given; returns how many."""
    table = database.table
    query = sql.SQL("UPDATE {} k SET {} = NULL WHERE {} AND k.{}::real[] = %s::real[]").format(
        table.relation, sql.Identifier(column), table.key_equals(sql.SQL("%s::text[]")), sql.Identifier(column)
    )

    def work(connection: Connection) -> int:
        taken = 0
        for key, vector in sorted(rows, key=lambda row: row[0]):
            taken += connection.execute(query, [*[list(key)] * len(table.key), vector.tolist()]).rowcount
        return taken

    return database.run(work)


def find_unfit(
    connection: Connection, table: Table, column: str, *, normalized: bool, tolerance: float, most: int
) -> tuple[dict[str, int], dict[str, list[tuple[str, ...]]]]:
    """Stored vectors that no model, or not this one, makes: code → how many, and the keys of at most ``most``."""
    name = sql.Identifier(column)
    length = sql.SQL("l2_norm(k.{}::halfvec)") if _is_half(connection, table, column) else sql.SQL("vector_norm(k.{})")
    code = sql.SQL("""
        CASE WHEN {length} = 0 THEN 'zero_vector' WHEN %(normalized)s AND abs({length} - 1) > %(tolerance)s
        THEN 'not_unit_length' END
    """).format(length=length.format(name))
    query = sql.SQL("""
        SELECT code, count(*), (array_agg(to_jsonb(key)))[:%(most)s] FROM (
            SELECT {code} AS code, {key} AS key FROM {rows} k WHERE k.{name} IS NOT NULL
        ) AS judged WHERE code IS NOT NULL GROUP BY code ORDER BY code
    """).format(code=code, key=table.key_texts(), rows=table.rows, name=name)
    parameters = {"normalized": normalized, "tolerance": tolerance, "most": most}
    found = connection.execute(query, parameters).fetchall()
    counts = {code: count for code, count, _ in found}
    return counts, {code: [tuple(key) for key in keys] for code, _, keys in found}


def _is_half(connection: Connection, table: Table, column: str) -> bool:
    return columns_of(connection, table.oid).get(column, "").endswith("halfvec")


def _as_json(keys: Sequence[tuple[str, ...]]) -> Jsonb:
    return Jsonb([{"place": place, "key": list(key)} for place, key in enumerate(keys)])


def _escaped(part: str) -> str:
    return part.replace("%", "%%")
