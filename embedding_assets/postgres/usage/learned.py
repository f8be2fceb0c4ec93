"""What was learned of a server from its refusals and its answers, for the processes that ask it next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from psycopg import sql

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database

_KEPT: Final = "1 day"
"""From the first thing learned on; then all is forgotten, since a server may have been upgraded."""

_SAVE = sql.SQL("""
    INSERT INTO embedding_endpoints AS known (name, inputs, in_flight, most_inputs, floats, learned_at)
    VALUES (%(name)s, %(inputs)s, %(in_flight)s, %(most_inputs)s, %(floats)s, now())
    ON CONFLICT (name) DO UPDATE SET
        (inputs, in_flight, most_inputs, floats, learned_at) = (
            SELECT excluded.inputs, excluded.in_flight, least(excluded.most_inputs, kept.most_inputs),
                   excluded.floats OR coalesce(kept.floats, false), coalesce(kept.learned_at, now())
            FROM (SELECT) AS one LEFT JOIN (SELECT known.*) AS kept ON kept.learned_at > now() - {kept}::interval
        )
""").format(kept=sql.Literal(_KEPT))


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned of a server.

    Attributes:
        inputs: texts of a request that it answers in good time.
        in_flight: requests in flight at once that it does.
        most_inputs: texts of a request above which it refuses; None: unknown.
        floats: whether it refuses vectors as base64.
    """

    inputs: int
    in_flight: int
    most_inputs: int | None
    floats: bool


def read_learned(database: Database, endpoint: str) -> Learned | None:
    """What was learned within a day; None: nothing."""
    query = sql.SQL("""
        SELECT inputs, in_flight, most_inputs, floats FROM embedding_endpoints
        WHERE name = %s AND learned_at > now() - {}::interval
    """).format(sql.Literal(_KEPT))
    row = database.run(lambda connection: connection.execute(query, [endpoint]).fetchone())
    return Learned(*row) if row else None


def save_learned(database: Database, endpoint: str, learned: Learned) -> None:
    """Keep what was learned: the latest pace, and the lowest limits that were met within a day."""
    database.run(lambda connection: connection.execute(_SAVE, {"name": endpoint, **asdict(learned)}))
