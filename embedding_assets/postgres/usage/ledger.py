"""Dollars: reserved before a request is sent, settled after it was answered, and added up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, LiteralString

from psycopg import sql

from embedding_assets.errors import BudgetExceededError
from embedding_assets.formatting import dollars
from embedding_assets.postgres.usage.endpoints import IDLE_TIMEOUT, Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embedding_assets.config import BudgetConfig
    from embedding_assets.postgres.connection import Connection, Database

_MILLIONTH: Final = Decimal("0.000001")

# The outcome of an expired reservation was never recorded: its process died, and the request was probably billed. What
# is neither open nor expired is in the sums of a trigger, so this costs the same however many requests there were.
_COUNT: Final = """
    SELECT period,
           coalesce(closed.usd, 0),
           coalesce(sum(CASE WHEN expires_at > moment THEN reserved_usd ELSE usage.usd END), 0),
           coalesce(sum(usage.usd), 0)
    FROM (SELECT to_timestamp(%(now)s)) AS clock (moment)
    CROSS JOIN LATERAL (
        VALUES ('month', to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM'), 'YYYY-MM'),
               ('day', to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD'), 'YYYY-MM-DD'),
               ('run', %(run)s, NULL)
    ) AS wanted (period, key, format)
    LEFT JOIN embedding_spending AS closed USING (period, key)
    LEFT JOIN embedding_usage AS usage
        ON state = 'reserved' AND key = coalesce(to_char(created_at AT TIME ZONE 'UTC', format), run_id)
    GROUP BY period, closed.usd
"""

# Expired reservations are closed one with each new one, or their number would grow with every process that dies.
# SKIP LOCKED: the holder of that one is closing it.
_RESERVE: Final = """
    WITH expired AS (
        UPDATE embedding_usage SET state = 'presumed', settled_at = to_timestamp(%(now)s)
        WHERE id = (
            SELECT id FROM embedding_usage WHERE state = 'reserved' AND expires_at <= to_timestamp(%(now)s)
            LIMIT 1 FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO embedding_usage (
        endpoint, space, provider, model, run_id, inputs, tokens, usd_per_million, usd, reserved_usd, probe,
        requests_admitted, tokens_admitted, created_at, expires_at
    ) VALUES (
        %(endpoint)s, %(space)s, %(provider)s, %(model)s, %(run_id)s, %(inputs)s, %(tokens)s, %(usd_per_million)s,
        %(usd)s, %(reserved_usd)s, %(probe)s, %(requests_admitted)s, %(tokens_admitted)s, to_timestamp(%(now)s),
        to_timestamp(%(expires)s)
    ) RETURNING id
"""

# A slow process may come after its reservation expired and was closed as presumed.
_CLOSE: Final[dict[str, LiteralString]] = {
    "settled": """
        UPDATE embedding_usage
        SET state = 'settled', settled_at = clock_timestamp(), tokens = %(tokens)s,
            usd = %(tokens)s * coalesce(usd_per_million, 0) * 0.000001
        WHERE id = %(id)s
    """,
    "presumed": """
        UPDATE embedding_usage SET state = 'presumed', settled_at = clock_timestamp()
        WHERE id = %(id)s AND state <> 'settled'
    """,
    "released": "DELETE FROM embedding_usage WHERE id = %(id)s AND state <> 'settled'",
}

_KEYS: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "day": ("to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')", "key DESC"),
    "run": ("run_id", "max(created_at) DESC, key"),
    "space": ("space", "sum(usd) DESC, key"),
}


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request that is about to be sent.

    Attributes:
        endpoint: digest of server, key, organization, project and model: all who share one rate limit.
        space: name of the vector space it is for.
        provider: e.g. ``openai``.
        model: the API's name of the model.
        run_id: the run whose dollar limit it falls under.
        inputs: texts in it.
        tokens: what it likely takes, a quarter of a token a UTF-8 byte; what rate limits count.
        most_tokens: what it cannot exceed: one token a byte.
        usd_per_million: dollars for a million tokens. None: unknown, counted as 0.
    """

    endpoint: str
    space: str
    provider: str
    model: str
    run_id: str
    inputs: int
    tokens: int
    most_tokens: int
    usd_per_million: Decimal | None


@dataclass(frozen=True, slots=True)
class CostRow:
    """Costs of a day, a run or a space.

    Attributes:
        key: the day (UTC) as ``2026-11-21``, the run's id, or the space's name.
        requests: those that were answered.
        embeddings: texts in them.
        tokens: as billed for them.
        usd: dollars for them.
        presumed_usd: likely dollars for requests of which it is unknown whether they were billed.
    """

    key: str
    requests: int
    embeddings: int
    tokens: int
    usd: Decimal
    presumed_usd: Decimal

    @property
    def usd_per_1000_embeddings(self) -> Decimal | None:
        """Dollars for a thousand embeddings; None when there are none."""
        return self.usd * 1000 / self.embeddings if self.embeddings else None


@dataclass(frozen=True, slots=True)
class DayCost:
    """Dollars spent on one day (UTC) in one space."""

    day: date
    space: str
    usd: float


@dataclass(frozen=True, slots=True)
class Spending:
    """Dollars that count against the limits: billed, presumed, and reserved by what is in flight."""

    run: Decimal
    day: Decimal
    month: Decimal


NOTHING_SPENT: Final = Spending(Decimal(0), Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that was let through.

    Attributes:
        usd: what it cost, or likely did.
        tokens: what it was to take until it was closed.
        probe: whether it was to find out if an outage is over.
        admitted: requests and tokens that its endpoint had admitted in all by then, itself included.
    """

    usd: Decimal
    tokens: int
    probe: bool
    admitted: tuple[int, int]


def _sent() -> None:
    """Nothing: outside of ``Database.run_pipelined`` each statement is sent at once."""


def list_costs(database: Database, *, by: Literal["day", "run", "space"], limit: int = 1000) -> list[CostRow]:
    """Costs by day, run or space: the newest days and runs first, the most expensive spaces first."""
    key, order = _KEYS[by]
    query = sql.SQL("""
        SELECT {} AS key,
               coalesce(sum(coalesce(requests, 1)) FILTER (WHERE state = 'settled'), 0)::bigint,
               coalesce(sum(inputs) FILTER (WHERE state = 'settled'), 0)::bigint,
               coalesce(sum(tokens) FILTER (WHERE state = 'settled'), 0)::bigint,
               coalesce(sum(usd) FILTER (WHERE state = 'settled'), 0),
               coalesce(sum(usd) FILTER (WHERE state <> 'settled'), 0)
        FROM embedding_usage WHERE state <> 'reserved' OR expires_at <= now()
        GROUP BY key ORDER BY {} LIMIT %s
    """).format(sql.SQL(key), sql.SQL(order))
    rows = database.run(lambda connection: connection.execute(query, [limit]).fetchall())
    return [CostRow(*row) for row in rows]


def list_daily_costs(database: Database, *, days: int = 90) -> list[DayCost]:
    """Dollars by day (UTC) and space, oldest first; likely dollars of requests with an unknown outcome included."""
    query = """
        SELECT (created_at AT TIME ZONE 'UTC')::date AS day, space, sum(usd)
        FROM embedding_usage
        WHERE (state <> 'reserved' OR expires_at <= now()) AND created_at > now() - %s * interval '1 day'
        GROUP BY day, space HAVING sum(usd) > 0 ORDER BY day, space
    """
    rows = database.run(lambda connection: connection.execute(query, [days]).fetchall())
    return [DayCost(day, space, float(usd)) for day, space, usd in rows]


def count_spending(database: Database, run_id: str) -> Spending:
    """Dollars that count against the limits of this run, of today and of this month (UTC), in all processes."""

    def work(connection: Connection) -> Spending:
        [now] = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone() or [0.0]
        spent = {period: closed + held for period, (closed, held, _) in _count(connection, run_id, now).items()}
        return Spending(**spent)

    return database.run(work)


def usd_of(tokens: int, usd_per_million: Decimal | None) -> Decimal:
    """The price of tokens; 0 where it is unknown."""
    return tokens * (usd_per_million or Decimal(0)) * _MILLIONTH


def lock_budget(connection: Connection) -> None:
    """Keep all others from reserving dollars until the transaction ends, which must be READ COMMITTED.

    Under another level, what others reserved while this waited for the lock would stay out of sight.
    """
    # Advisory locks are the whole database's, so the table's oid is part of the key: another schema may have a table of
    # that name.
    connection.execute(
        sql.SQL("""
            SELECT set_config('idle_in_transaction_session_timeout', {}, true),
                   pg_advisory_xact_lock(hashtext('embedding_assets budget'), hashoid('embedding_usage'::regclass))
        """).format(sql.Literal(IDLE_TIMEOUT))
    )


def check_budget(
    connection: Connection, request: ApiRequest, budget: BudgetConfig, now: float, send: Callable[[], None] = _sent
) -> float | None:
    """The highest share (0 to 1) used of a limit with this request; None when it must wait for open ones to be settled.

    Called under `lock_budget`. Shares go by likely costs, limits by the highest that open requests can have.

    Raises:
        BudgetExceededError: it would not fit even if the open ones cost what is likely.
    """
    usd, most = usd_of(request.tokens, request.usd_per_million), usd_of(request.most_tokens, request.usd_per_million)
    counts = _count(connection, request.run_id, now, send)
    limits = {"month": budget.usd_per_month, "day": budget.usd_per_day, "run": budget.usd_per_run}
    share, fits = 0.0, True
    for period, limit in limits.items():
        if limit is None:
            continue
        closed, held, likely = counts[period]
        if closed + likely + most > limit:
            left = max(limit - closed - likely, Decimal(0))
            raise BudgetExceededError(_exceeded(period, limit, closed + likely, most, now), left_usd=left)
        fits = fits and closed + held + most <= limit
        share = max(share, float((closed + likely + usd) / limit))
    return min(share, 1.0) if fits else None


def reserve(
    connection: Connection, request: ApiRequest, endpoint: Endpoint, *, probe: bool, expires: float
) -> Callable[[], int]:
    """Enter a request that ``endpoint`` has admitted; returns how to read the reservation."""
    entered = connection.execute(
        _RESERVE,
        {
            **asdict(request),
            "usd": usd_of(request.tokens, request.usd_per_million),
            "reserved_usd": usd_of(request.most_tokens, request.usd_per_million),
            "probe": probe,
            "requests_admitted": endpoint.requests.admitted,
            "tokens_admitted": endpoint.tokens.admitted,
            "now": endpoint.now,
            "expires": expires,
        },
    )

    def read() -> int:
        row = entered.fetchone()
        assert row
        return int(row[0])

    return read


def close_reservation(
    connection: Connection, reservation: int, outcome: Literal["settled", "presumed", "released"], *, tokens: int = 0
) -> Callable[[], Reservation | None]:
    """Enter what became of a request; returns how to read it, None when there is none any more.

    Args:
        connection: in a transaction.
        reservation: what `reserve` returned.
        outcome: billed; unknown; or refused, after which the row is gone.
        tokens: as billed.
    """
    query = sql.SQL("""
        WITH before AS MATERIALIZED (SELECT tokens FROM embedding_usage WHERE id = %(id)s) {}
        RETURNING usd, (SELECT tokens FROM before), probe, requests_admitted, tokens_admitted
    """).format(sql.SQL(_CLOSE[outcome]))
    closed = connection.execute(query, {"id": reservation, "tokens": tokens})

    def read() -> Reservation | None:
        row = closed.fetchone()
        return Reservation(row[0], row[1], row[2], (row[3], row[4])) if row else None

    return read


def count_open(
    connection: Connection,
    endpoint: Endpoint,
    *,
    before: int | None = None,
    since: float = 0.0,
    send: Callable[[], None] = _sent,
) -> tuple[int, int]:
    """Requests and tokens in flight to ``endpoint``, of reservations before that one, made since that time."""
    query = """
        SELECT count(*), coalesce(sum(tokens), 0)::bigint FROM embedding_usage
        WHERE state = 'reserved' AND endpoint = %s AND expires_at > to_timestamp(%s)
          AND id < coalesce(%s, 9223372036854775807) AND created_at > to_timestamp(%s)
    """
    parameters = [endpoint.name, endpoint.now, before, since]
    counted = connection.execute(query, parameters)
    send()
    row: tuple[Any, ...] | None = counted.fetchone()
    assert row
    return row[0], row[1]


def _count(
    connection: Connection, run_id: str, now: float, send: Callable[[], None] = _sent
) -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """For each period: dollars of closed reservations, most that the others can cost, what they likely cost."""
    counted = connection.execute(_COUNT, {"run": run_id, "now": now})
    send()
    return {period: (closed, held, likely) for period, closed, held, likely in counted.fetchall()}


def _exceeded(period: str, limit: Decimal, spent: Decimal, most: Decimal, now: float) -> str:
    today = datetime.fromtimestamp(now, UTC).date()
    next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    setting, goes_on = {
        "run": ("EMBEDDING_BUDGET_USD_PER_RUN", "start a new run"),
        "day": ("EMBEDDING_BUDGET_USD_PER_DAY", f"work goes on at 00:00 UTC on {today + timedelta(days=1)}"),
        "month": ("EMBEDDING_BUDGET_USD_PER_MONTH", f"work goes on at 00:00 UTC on {next_month}"),
    }[period]
    message = (
        f"this {period} costs {dollars(spent)} with what is in flight, the next request may cost {dollars(most)}, "
        f"and the limit is {dollars(limit)} ({setting}); "
    )
    if most > limit:
        return f"{message}raise the limit"
    return f"{message}{goes_on}, or raise the limit"


def total_costs(database: Database) -> CostRow:
    """Costs of all spaces together."""
    return add_up(list_costs(database, by="space"))


def add_up(rows: Sequence[CostRow]) -> CostRow:
    """Some costs together."""
    return CostRow(
        "total",
        requests=sum(row.requests for row in rows),
        embeddings=sum(row.embeddings for row in rows),
        tokens=sum(row.tokens for row in rows),
        usd=sum((row.usd for row in rows), Decimal(0)),
        presumed_usd=sum((row.presumed_usd for row in rows), Decimal(0)),
    )
