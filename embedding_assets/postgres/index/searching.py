"""The indexes of words and filters, built with as much memory as an index of vectors is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from embedding_assets.postgres.index.resources import choose_resources
from embedding_assets.postgres.search_indexes import build_search_indexes

if TYPE_CHECKING:
    from embedding_assets.config import IndexConfig
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

_MOST_MEMORY_MB: Final = 512
"""Beyond, an index of words is built no faster."""


def build_for_searches(database: Database, config: IndexConfig, language: str) -> bool:
    """Build what is missing of the indexes for words and filters, without blocking readers or writers.

    What cannot be built is logged, and searches do without.

    Args:
        database: where.
        config: the memory and workers that a build may take.
        language: text search configuration.

    Returns:
        Whether anything was built.

    Raises:
        ConfigurationError: the server knows no such language.
        DatabaseUnavailableError: the server was lost.
    """
    return build_search_indexes(database, language, lambda connection: _settings(connection, database.table, config))


def _settings(connection: Connection, table: Table, config: IndexConfig) -> dict[str, str]:
    row: Any = connection.execute(
        """
        SELECT coalesce(sum(pg_table_size(oid)), 0)::bigint >> 20 FROM pg_class
        WHERE oid IN (SELECT %(table)s::regclass UNION ALL SELECT relid FROM pg_partition_tree(%(table)s))
        """,
        {"table": sql.Identifier(table.schema, table.name).as_string()},
    ).fetchone()
    wanted = min(_MOST_MEMORY_MB, row[0])
    workers, memory = choose_resources(connection, config, wanted, in_parallel=True)
    return {"maintenance_work_mem": f"{memory}MB", "max_parallel_maintenance_workers": str(workers)}
