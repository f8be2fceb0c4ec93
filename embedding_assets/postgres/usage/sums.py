"""Old requests of the ledger, summed up by day: it does not grow with every question that was ever asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database

KEPT_DAYS: Final = 7
"""For which requests stay single."""

_BATCH: Final = 5_000
"""Requests summed up in a transaction, which keeps others from settling in the same month for tenths of a second."""

# The oldest have the lowest numbers, so those that are not due yet are not looked through. What is reserved is left
# alone. The triggers on both parts keep embedding_spending what it is: days and months, and runs that keep their name.
# A run keeps it unless this was its only request, by its dollars: most searches are such runs.
_SUM_UP: Final = """
    WITH oldest AS MATERIALIZED (
        SELECT id, created_at FROM embedding_usage WHERE requests IS NULL AND state <> 'reserved'
        ORDER BY id LIMIT %(batch)s
    ), due AS (
        SELECT id, created_at FROM oldest
        WHERE created_at < date_trunc('day', now(), 'UTC') - %(kept)s * interval '1 day'
    ), days AS (
        SELECT date_trunc('day', min(created_at), 'UTC') AS first, max(created_at) AS last FROM due
    ), taken AS (
        DELETE FROM embedding_usage WHERE state <> 'reserved' AND id IN (
            SELECT id FROM due
            UNION ALL
            SELECT id FROM embedding_usage, days
            WHERE requests IS NOT NULL AND inputs < 1000000000 AND created_at BETWEEN first AND last
        ) RETURNING *
    ), named AS (
        SELECT taken.*, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
               requests IS NULL AND single.run_id IS NOT NULL AS alone
        FROM taken
        LEFT JOIN (SELECT run_id FROM embedding_usage GROUP BY run_id HAVING count(*) = 1) AS single
            ON single.run_id = taken.run_id
    ), summed AS (
        INSERT INTO embedding_usage (
            endpoint, space, provider, model, run_id, state, inputs, tokens, usd, reserved_usd, requests,
            created_at, expires_at, settled_at
        )
        SELECT endpoint, space, provider, model,
               CASE WHEN alone THEN 'single requests of ' || day ELSE run_id END, state,
               sum(inputs), sum(tokens), sum(usd), sum(reserved_usd), sum(coalesce(requests, 1)),
               max(created_at), max(expires_at), max(settled_at)
        FROM named GROUP BY day, 1, 2, 3, 4, 5, 6
    )
    SELECT (SELECT count(*) FROM due), (SELECT coalesce(array_agg(run_id), '{}') FROM named WHERE alone)
"""

# Of a run, only the limit for one asks for the sum. What the triggers add later for a run that is gone from here is 0:
# its rows only move from one sum to another. Not looked for where nothing was due: it reads a week of requests.
_FORGET_RUNS: Final = """
    DELETE FROM embedding_spending WHERE period = 'run' AND NOT EXISTS (
        SELECT FROM embedding_usage WHERE run_id COLLATE "C" = key AND requests IS NULL
    )
"""


def sum_up_usage(database: Database, *, batch: int = _BATCH) -> bool:
    """Sum up the oldest requests of more than a week ago: by day, endpoint, space, model, outcome and run.

    Runs of a single request become one of the day. What costs add up to, by day, month, space or in all, stays the
    same. For its limit in dollars, a run that has asked for nothing in that week begins again at 0. Does nothing while
    another process is at it.

    Args:
        database: where the ledger is.
        batch: most requests to take up.

    Returns:
        Whether there may be more of them.
    """

    def work(connection: Connection) -> bool:
        lock = (
            "SELECT pg_try_advisory_xact_lock(hashtext('embedding_assets sums'), hashoid('embedding_usage'::regclass))"
        )
        if connection.execute(lock).fetchone() != (True,):
            return False
        row = connection.execute(_SUM_UP, {"batch": batch, "kept": KEPT_DAYS}).fetchone()
        due, gone = row or (0, [])
        connection.execute("DELETE FROM embedding_spending WHERE period = 'run' AND usd = 0 AND key = ANY(%s)", [gone])
        if 0 < due < batch:
            # By statistics of before, a loop over all of them may seem cheap.
            connection.execute("SET LOCAL enable_nestloop = off")
            connection.execute(_FORGET_RUNS)
        return bool(due == batch)

    return database.run(work)
