"""The configured database, ready to use: the embedded server started, the schema up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import check_readable, migrate
from embedding_assets.postgres.server.embedded import start_embedded_server
from embedding_assets.postgres.spaces import settle_columns
from embedding_assets.postgres.url import normalize_url


def resolve_url(settings: Settings) -> str:
    """The connection string to use: the configured one, or that of the embedded server, which is then started."""
    if settings.database.url is not None:
        return normalize_url(settings.database.url.get_secret_value())
    return start_embedded_server(settings.data_dir)


@contextmanager
def open_database(settings: Settings, *, reading: bool = False, looking: bool = False) -> Iterator[Database]:
    """The configured database, started if it is the embedded one, its schema up to date; closed at the end.

    Args:
        settings: which database, and which table in it.
        reading: only searches follow, for which an older or newer schema may do.
        looking: nothing is made where nothing is there yet: the table's ``oid`` is 0 then.

    Raises:
        DatabaseError: it cannot be reached, lacks pgvector, or refuses what is needed.
    """
    with Database(resolve_url(settings), settings.database, settings.source) as database:
        if reading:
            check_readable(database)
        elif not (looking and database.table.is_own and not database.table.oid) and migrate(database):
            settle_columns(database)
        yield database
