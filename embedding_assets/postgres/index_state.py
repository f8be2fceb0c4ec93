"""What PostgreSQL knows of a vector index, and whether it must be built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from psycopg import sql

from embedding_assets.postgres.graph_size import fresh_index_bytes, is_bloated

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.spaces import SpaceRecord

__all__ = ["DISTANCE_OPERATORS", "IndexState", "RepairReason", "count_vectors", "describe", "describe_index"]

RepairReason = Literal["missing", "invalid", "differs", "bloated"]

DISTANCE_OPERATORS: Final = {
    "vector_cosine_ops": sql.SQL("<=>"),
    "vector_ip_ops": sql.SQL("<#>"),
    "vector_l2_ops": sql.SQL("<->"),
}


@dataclass(frozen=True, slots=True)
class IndexState:
    """What PostgreSQL knows of a vector index."""

    name: str
    exists: bool
    valid: bool = False
    size_bytes: int = 0
    operator_class: str = ""
    m: int = 0
    ef_construction: int = 0
    method: str = "hnsw"

    def matches(self, config: IndexConfig) -> bool:
        """Whether it is usable and was built as configured."""
        return self.valid and (self.method, self.operator_class, self.m, self.ef_construction) == (
            "hnsw",
            config.operator_class,
            config.m,
            config.ef_construction,
        )

    def bloat(self, vectors: int, dimensions: int) -> float | None:
        """Its size as a multiple of what it would be if it were built now; None for anything but an HNSW index.

        Below 1 where vectors are equal, since those share an entry.
        """
        if not self.exists or self.method != "hnsw":
            return None
        return self.size_bytes / fresh_index_bytes(vectors, dimensions, self.m)

    def repair_reason(self, config: IndexConfig, vectors: int, dimensions: int) -> RepairReason | None:
        """Why it must be built; None when it is as it should be."""
        if not self.exists:
            return "missing"
        if not self.valid:
            return "invalid"
        if not self.matches(config):
            return "differs"
        return "bloated" if is_bloated(self.size_bytes, self.bloat(vectors, dimensions), config.bloat_ceiling) else None


def describe_index(database: Database, name: str) -> IndexState:
    """The state of an index; ``exists`` is False when there is none of that name."""
    return database.run(lambda connection: describe(connection, name))


def describe(connection: Connection, name: str) -> IndexState:
    """As ``describe_index``, on a connection at hand."""
    query = """
        SELECT i.indisvalid, pg_relation_size(c.oid), o.opcname, coalesce(c.reloptions, '{}'), a.amname
        FROM pg_class c
        JOIN pg_am a ON a.oid = c.relam
        JOIN pg_index i ON i.indexrelid = c.oid
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE c.oid = to_regclass(quote_ident(%s))
    """
    row = connection.execute(query, [name]).fetchone()
    if row is None:
        return IndexState(name, exists=False)
    options = dict(option.split("=", 1) for option in row[3])
    # An option that was left to its default is not recorded; these are pgvector's.
    return IndexState(
        name,
        exists=True,
        valid=row[0],
        size_bytes=row[1],
        operator_class=row[2],
        m=int(options.get("m", 16)),
        ef_construction=int(options.get("ef_construction", 64)),
        method=row[4],
    )


def count_vectors(connection: Connection, record: SpaceRecord) -> int:
    """Vectors of a space, counted by indexes alone: all chunks, less those without a vector."""
    query = sql.SQL(
        "SELECT (SELECT count(*) FROM knowledge_base) - (SELECT count(*) FROM knowledge_base WHERE {} IS NULL)"
    ).format(sql.Identifier(record.column))
    row: Any = connection.execute(query).fetchone()
    return int(row[0])
