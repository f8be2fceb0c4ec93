"""Past runs: the source of throughput checks and of estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.models import EmbeddingStats
    from embedding_assets.postgres.connection import Connection, Database

_KEPT_RUNS: Final = 10_000
"""Of each space; reports and estimates read a hundred."""

_FIELDS = (
    "embedded", "failed", "skipped", "truncated", "tokens",
    "seconds", "model_load_seconds", "peak_memory_bytes", "device", "precision", "threads", "streams", "usd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PastRun:
    """A finished run; units as in EmbeddingStats.

    Attributes:
        threads: None, as ``streams``: recorded before these were.
    """

    finished_at: datetime
    embedded: int
    failed: int
    skipped: int
    truncated: int
    tokens: int
    seconds: float
    model_load_seconds: float
    peak_memory_bytes: int
    device: str
    precision: str
    threads: int | None = None
    streams: int | None = None
    usd: float = 0.0

    @property
    def chunks_per_second(self) -> float:
        """Embedded chunks per second, without loading the model."""
        return self.embedded / self.seconds if self.seconds > 0 else 0.0


def save_run(database: Database, stats: EmbeddingStats) -> None:
    """Keep the statistics of a run that took up at least one chunk; the oldest of very many are deleted."""
    query = sql.SQL("INSERT INTO embedding_runs (space, {}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, _FIELDS)), sql.SQL(", ").join(sql.Placeholder() * (len(_FIELDS) + 1))
    )

    delete = """
        DELETE FROM embedding_runs WHERE space = %(space)s AND id <= (
            SELECT id FROM embedding_runs WHERE space = %(space)s ORDER BY id DESC OFFSET %(kept)s LIMIT 1
        )
    """

    def work(connection: Connection) -> None:
        connection.execute(query, [stats.space, *(getattr(stats, name) for name in _FIELDS)])
        connection.execute(delete, {"space": stats.space, "kept": _KEPT_RUNS})

    if stats.processed:
        database.run(work)


def latest_run(database: Database, space_name: str, *, at_least: int = 1) -> PastRun | None:
    """The latest run that embedded ``at_least`` chunks: fewer say little about speed."""
    return next(iter(list_runs(database, space_name, limit=1, at_least=at_least)), None)


def list_runs(database: Database, space_name: str, *, limit: int = 100, at_least: int = 1) -> list[PastRun]:
    """The last ``limit`` runs that embedded ``at_least`` chunks, oldest first."""
    query = sql.SQL(
        "SELECT finished_at, {} FROM embedding_runs WHERE space = %s AND embedded >= %s ORDER BY id DESC LIMIT %s"
    ).format(sql.SQL(", ").join(map(sql.Identifier, _FIELDS)))
    rows = database.run(lambda connection: connection.execute(query, [space_name, at_least, limit]).fetchall())
    # Dollars are the last field, and exact in the database.
    return [replace(PastRun(*row), usd=float(row[-1])) for row in reversed(rows)]
