"""Where chunks that say the same stand, and how their texts begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database
    from embedding_assets.postgres.table import Table

MOST_PLACES: Final = 10
"""Of a group that are read and shown; the others are counted."""

LONG_CHARACTERS: Final = 80
"""From which on a text says the same under whatever headings. A short one, as "Yes.", answers what stands above it."""

_BEGINNING: Final = 400
"""Characters of a text that are read."""

Key = tuple[str, ...]
"""Values of a row's key, as texts."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands.

    Attributes:
        chunk_hash: the row's hash.
        key: names and values of the key of a row in a table of the user's; else empty.
        source: as searches show it.
        header: headings above the text.
        text: how it begins.
    """

    chunk_hash: str
    key: dict[str, str]
    source: str
    header: str = field(repr=False)
    text: str = field(repr=False)


def digest(table: Table) -> sql.Composed:
    """A digest of what a row ``k`` says, whatever the blanks between its words; NULL where it says nothing.

    Headings count where the text is short, as in searches, which show equal texts once.
    """
    # Computed once a row; "C": with other collations PostgreSQL may refuse to look for blanks.
    return sql.SQL("""
        (SELECT md5(CASE WHEN length(said) >= {long} THEN said ELSE ({header}) COLLATE "C" || E'\\n' || said END)
         FROM (SELECT btrim(regexp_replace(({body}) COLLATE "C", '\\s+', ' ', 'g')) AS said OFFSET 0) AS normalized
         WHERE said <> '')
    """).format(long=sql.Literal(LONG_CHARACTERS), header=table.headings(), body=table.body())


def read_places(database: Database, keys: Sequence[Key]) -> dict[Key, Place]:
    """The places of the rows with these keys; rows that are gone are left out."""
    table = database.table
    query = sql.SQL("""
        SELECT {key}, {hash}, {source}, {header}, left({body}, {most})
        FROM jsonb_to_recordset(%(keys)s) AS wanted (key text[]) JOIN {rows} k ON {equal}
    """).format(
        key=table.key_texts(),
        hash=table.hash(),
        source=table.source(),
        header=table.headings(),
        body=table.body(),
        most=sql.Literal(_BEGINNING),
        rows=table.rows,
        equal=table.key_equals(sql.SQL("wanted.key")),
    )
    parameters = {"keys": Jsonb([{"key": key} for key in keys])}
    found = database.run(lambda connection: connection.execute(query, parameters).fetchall())
    names = () if table.is_own else tuple(column.name for column in table.key)
    return {
        tuple(key): Place(chunk_hash, dict(zip(names, key, strict=False)), *rest) for key, chunk_hash, *rest in found
    }
