"""One look at a table for its sensor: what is due, who works on it, which index is missing; it loads no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding_assets.pipeline.readiness import Readiness, check_readiness
from embedding_assets.planning import all_prefixes
from embedding_assets.postgres.catalog import describe_index
from embedding_assets.postgres.estimates import count_inserts
from embedding_assets.postgres.locks import busy_buckets, is_announced, is_loading
from embedding_assets.postgres.runs import latest_run
from embedding_assets.postgres.samples import has_vectors
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.space_selection import find_for_run

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database


@dataclass(frozen=True, slots=True)
class TableLook:
    """A table as its sensor sees it.

    Attributes:
        ready: what runs could take up.
        busy: prefixes that a run works on, of whatever user and machine.
        alive: of the runs asked about, by id, those whose process lives.
        missing: indexes that spaces with vectors lack, by name; empty while anything is loaded.
        inserts: rows that were ever inserted, as PostgreSQL counts them; of use for comparison alone.
    """

    ready: Readiness
    busy: frozenset[str]
    alive: frozenset[str]
    missing: tuple[str, ...]
    inserts: int


def look_at_table(database: Database, settings: Settings, silent_runs: Sequence[str]) -> TableLook:
    """Look; costs one probe of the partial index for each prefix, and some of the catalog, however large the table.

    Args:
        database: where.
        settings: of the runs.
        silent_runs: ids of runs whose process may be gone.

    Raises:
        ConfigurationError: the settings do not lead to the table's model, or a dollar limit needs a price.
    """
    length = settings.embedding.prefix_length
    ready = check_readiness(database, settings, all_prefixes(length))
    _, column = find_for_run(settings, database)
    buckets = frozenset() if column is None else busy_buckets(database, column.space.name)
    return TableLook(
        ready=ready,
        busy=frozenset(format(bucket, "02x")[:length] for bucket in buckets),
        alive=frozenset(run_id for run_id in silent_runs if is_announced(database, run_id)),
        missing=() if buckets else tuple(_missing_indexes(database, nothing_due=not ready.prefixes)),
        inserts=count_inserts(database),
    )


def look_before_adoption(prefixes: Sequence[str], why: str) -> TableLook:
    """Of a table that the first run adopts: what is due is known then, and without that run nothing would begin."""
    return TableLook(Readiness(list(prefixes), warning=why), busy=frozenset(), alive=frozenset(), missing=(), inserts=0)


def _missing_indexes(database: Database, *, nothing_due: bool) -> Iterator[str]:
    for column in list_spaces(database):
        # Of a space that no run has filled the rows have to be looked at, of which one without vectors has many.
        filled = latest_run(database, column.space.name) is not None or (column.serving and nothing_due)
        if not filled or describe_index(database, column.index).valid or is_loading(database, column.space.name):
            continue
        if has_vectors(database, column):
            yield column.index
