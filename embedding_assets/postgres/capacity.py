"""Room for more connections, before many processes ask for them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database


@dataclass(frozen=True, slots=True)
class Room:
    """Connections that this role can still open.

    Attributes:
        left: how many; never negative.
        limit: what ends them first, in words, e.g. ``max_connections``.
        most: the value of that limit.
        reserved: those of it that are kept for others.
        used: those of it that are open.
    """

    left: int
    limit: str
    most: int
    reserved: int
    used: int


def room_for_connections(database: Database) -> Room:
    """What server, database and role leave, whichever is least. A pooler in between may have limits of its own."""
    # Of other roles only the database is shown, unless one may read all statistics; parallel workers then count, too.
    query = """
        WITH open AS (
            SELECT datid, usesysid FROM pg_stat_activity
            WHERE backend_type = 'client backend' OR backend_type IS NULL AND datid IS NOT NULL
        )
        SELECT 'max_connections', current_setting('max_connections')::int,
               current_setting('superuser_reserved_connections')::int
               + coalesce(current_setting('reserved_connections', true)::int, 0), (SELECT count(*) FROM open)
        UNION ALL
        SELECT 'the CONNECTION LIMIT of the database', datconnlimit, 0,
               (SELECT count(*) FROM open WHERE open.datid = d.oid)
        FROM pg_database d WHERE datname = current_database() AND datconnlimit >= 0
        UNION ALL
        SELECT 'the CONNECTION LIMIT of the role', rolconnlimit, 0,
               (SELECT count(*) FROM open WHERE open.usesysid = r.oid)
        FROM pg_roles r WHERE rolname = session_user AND rolconnlimit >= 0 AND NOT rolsuper
    """

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        return connection.execute(query).fetchall()

    rooms = [
        Room(max(0, most - reserved - used), limit, most, reserved, used)
        for limit, most, reserved, used in database.run(work)
    ]
    return min(rooms, key=lambda room: room.left)
