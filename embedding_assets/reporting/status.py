"""The state of a table, counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from embedding_assets.postgres.backlog import Backlog, count_backlog
from embedding_assets.postgres.catalog import IndexState, describe_index
from embedding_assets.postgres.chunks import count_chunks
from embedding_assets.postgres.runs import PastRun, latest_run
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.spaces import SpaceColumn

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """One vector space of the table."""

    column: SpaceColumn
    backlog: Backlog
    index: IndexState
    latest_run: PastRun | None

    @property
    def coverage(self) -> float:
        """Share of the chunks that have a vector in the space; 1 for an empty table."""
        return self.backlog.embedded / self.backlog.chunks if self.backlog.chunks else 1.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.column.space.name,
            "provider": self.column.space.provider,
            "model": self.column.space.model,
            "revision": self.column.space.revision,
            "column": self.column.name,
            "dimensions": self.column.space.dimensions,
            "serving": self.column.serving,
            "embedded": self.backlog.embedded,
            "coverage": self.coverage,
            "pending": self.backlog.pending,
            "waiting": self.backlog.waiting,
            "quarantined": self.backlog.quarantined,
            "unreachable": self.backlog.unreachable,
            "index": {
                "name": self.index.name,
                "exists": self.index.exists,
                "valid": self.index.valid,
                "size_bytes": self.index.size_bytes,
            },
            "latest_run": asdict(self.latest_run) if self.latest_run else None,
        }


@dataclass(frozen=True, slots=True)
class TableStatus:
    """The table and its vector spaces, oldest first."""

    chunks: int
    spaces: list[SpaceStatus]


def inspect_table(database: Database) -> TableStatus:
    """Count what is in the table; measures nothing that costs more than a scan of an index."""
    spaces = [inspect_space(database, column) for column in list_spaces(database)]
    return TableStatus(spaces[0].backlog.chunks if spaces else count_chunks(database), spaces)


def inspect_space(database: Database, column: SpaceColumn) -> SpaceStatus:
    """The same of one space."""
    return SpaceStatus(
        column=column,
        backlog=count_backlog(database, column),
        index=describe_index(database, column.index),
        latest_run=latest_run(database, column.space.name),
    )
