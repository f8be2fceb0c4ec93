"""The configured database, ready to use: the embedded server started, the schema up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedding_assets.config import Settings
from embedding_assets.errors import ConfigurationError
from embedding_assets.identifiers import parts_of
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.lookup import OWN_TABLE
from embedding_assets.postgres.schema import NOTHING_EMBEDDED, check_current, check_readable, migrate
from embedding_assets.postgres.server.embedded import future_url, start_embedded_server
from embedding_assets.postgres.spaces import settle_columns
from embedding_assets.postgres.table import Table
from embedding_assets.postgres.url import normalize_url


def resolve_url(settings: Settings) -> str:
    """The connection string to use: the configured one, or that of the embedded server, which is then started."""
    if settings.database.url is not None:
        return normalize_url(settings.database.url.get_secret_value())
    return start_embedded_server(settings.data_dir)


@contextmanager
def open_database(settings: Settings, *, reading: bool = False) -> Iterator[Database]:
    """The configured database, started if it is the embedded one, its schema up to date; closed at the end.

    Args:
        settings: which database, and which table in it.
        reading: only searches follow, for which an older or newer schema may do.

    Raises:
        DatabaseError: it cannot be reached, lacks pgvector, or refuses what is needed.
    """
    if reading and _future_url(settings):
        raise ConfigurationError(NOTHING_EMBEDDED)
    with Database(resolve_url(settings), settings.database, settings.source) as database:
        if reading:
            check_readable(database)
        else:
            _bring_up_to_date(database)
        yield database


@contextmanager
def look_at_database(settings: Settings, *, maintaining: bool = False) -> Iterator[Database]:
    """The configured database, in which nothing is made; closed at the end.

    Where nothing is there yet, the table's ``oid`` is 0. The embedded server is started if it has data.

    Args:
        settings: which database, and which table in it.
        maintaining: what is there is brought up to date; without, it is left as it is.

    Raises:
        DatabaseError: it cannot be reached, lacks pgvector, or refuses what is needed.
        ConfigurationError: there is no such table, or what is kept about it is of another version.
    """
    future = _future_url(settings)
    with Database(future or resolve_url(settings), settings.database, settings.source) as database:
        if future is not None:
            database.use_table(_table_to_be(settings))
        elif database.table.is_own and not database.table.oid:
            pass
        elif maintaining:
            _bring_up_to_date(database)
        else:
            check_current(database)
        yield database


def _bring_up_to_date(database: Database) -> None:
    if migrate(database):
        settle_columns(database)


def _future_url(settings: Settings) -> str | None:
    """The URL of the embedded server if that is what the settings lead to, and it was never started."""
    return future_url(settings.data_dir) if settings.database.url is None else None


def _table_to_be(settings: Settings) -> Table:
    """``knowledge_base`` where there is no database yet."""
    relation = settings.source.relation
    if relation is not None and parts_of(relation)[-1:] != [OWN_TABLE]:
        raise ConfigurationError(f"there is no table {relation}: {settings.data_dir} has no database yet")
    return Table("public", OWN_TABLE, 0, "public", is_own=True)
