"""The versions of PostgreSQL and pgvector: what is too old, and what must not be done with an older one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabasePermissionError, PgvectorError

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.table import Table

logger = logging.getLogger(__name__)

MINIMUM_POSTGRESQL: Final = 140_000
"""CREATE OR REPLACE TRIGGER came with it; pg_current_xact_id, on which safe retries rest, with 13."""

MINIMUM_PGVECTOR: Final = (0, 8, 0)
"""Iterative scans came with it."""

RECOMMENDED_PGVECTOR: Final = (0, 8, 4)
"""Parallel builds and vacuum of HNSW indexes were corrected in 0.8.2 to 0.8.4."""

_SOUND_PARALLEL_BUILDS: Final = (0, 8, 2)
"""Before, a parallel build of an HNSW index could write beyond its buffer (CVE-2026-3172,
https://github.com/pgvector/pgvector/issues/959)."""

_SOUND_VACUUM: Final = RECOMMENDED_PGVECTOR
"""Before, a vacuum beside inserts could damage an HNSW index, or fail
(https://github.com/pgvector/pgvector/pull/988, https://github.com/pgvector/pgvector/issues/993)."""

_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class PgvectorLimits:
    """What a version of pgvector does safely.

    Attributes:
        builds_in_parallel: builds HNSW indexes with parallel workers.
        vacuums_indexes: cleans up HNSW indexes while others insert.
    """

    builds_in_parallel: bool
    vacuums_indexes: bool


def limits_of(version: str) -> PgvectorLimits:
    """What the version of that name, such as ``0.8.5``, does safely."""
    numbers = _numbers(version)
    return PgvectorLimits(numbers >= _SOUND_PARALLEL_BUILDS, numbers >= _SOUND_VACUUM)


def read_limits(connection: Connection) -> PgvectorLimits:
    """What the database's pgvector does safely."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return limits_of(row[0] if row else "")


def ensure_pgvector(connection: Connection, table: Table, address: str) -> None:
    """Install pgvector unless it is there, in a server that is new enough.

    Raises:
        ConfigurationError: PostgreSQL is too old.
        DatabasePermissionError: the role may not install it.
        PgvectorError: the server does not have it, or has a version that is too old.
    """
    server = connection.info.server_version
    if server < MINIMUM_POSTGRESQL:
        raise ConfigurationError(f"{address} runs PostgreSQL {server // 10_000}; version 14 or newer is needed")
    installed = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone()
    if not installed:
        try:
            connection.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS vector SCHEMA {}").format(
                    sql.Identifier(_schema_of_extensions(connection, table))
                )
            )
        except pg.InsufficientPrivilege:
            raise DatabasePermissionError(
                f"{address}: this role may not install pgvector; "
                "have an administrator run CREATE EXTENSION vector in this database"
            ) from None
        except (pg.UndefinedFile, pg.FeatureNotSupported):
            raise PgvectorError(
                f"{address}: the server has no pgvector; install pgvector 0.8.4 or newer there "
                "(https://github.com/pgvector/pgvector#installation)"
            ) from None
    check_pgvector(connection)


def _schema_of_extensions(connection: Connection, table: Table) -> str:
    """Where the role would create one: not among the records of an adopted table, with which it would be dropped."""
    row = connection.execute(
        "SELECT name FROM unnest(current_schemas(false)) AS s (name) WHERE %s OR name <> %s LIMIT 1",
        [table.is_own, table.records],
    ).fetchone()
    return row[0] if row else "public"


def check_pgvector(connection: Connection) -> None:
    """Make sure that pgvector can be used; warn once of a version with faults that are known.

    Raises:
        PgvectorError: it is missing, too old, or in a schema where it is not found.
    """
    row = connection.execute("""
        SELECT extversion, extnamespace::regnamespace::text, to_regtype('vector') IS NOT NULL
        FROM pg_extension WHERE extname = 'vector'
    """).fetchone()
    if row is None:
        raise PgvectorError("the pgvector extension was removed from the database; run CREATE EXTENSION vector")
    version, schema, is_found = row
    if _numbers(version) < MINIMUM_PGVECTOR:
        raise PgvectorError(
            f"pgvector {version} is older than 0.8.0; install 0.8.4 or newer on the server, "
            "then run ALTER EXTENSION vector UPDATE"
        )
    if not is_found:
        raise PgvectorError(
            f"pgvector is installed in schema {schema}, where it is not found; add that schema to the role's "
            "search_path (ALTER ROLE … SET search_path = …) and GRANT USAGE on it"
        )
    _warn(version)


def _warn(version: str) -> None:
    limits = limits_of(version)
    if version in _warned or limits.vacuums_indexes:
        return
    _warned.add(version)
    parallel = "" if limits.builds_in_parallel else "indexes are built without parallel workers, "
    logger.warning(
        "pgvector %s has faults in HNSW indexes that 0.8.4 corrected: %sour own vacuums leave indexes out, but "
        "autovacuum beside inserts may damage one; install 0.8.4 or newer, then run ALTER EXTENSION vector UPDATE",
        version,
        parallel,
        extra={"pgvector": version},
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
