"""Limits of an API: a bucket for each, and a circuit breaker, shared by all its users here."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedding_assets.postgres.connection import Connection, Database

_BURST_SECONDS: Final = 5.0
"""Seconds of its limit that a bucket holds at first, where no header says what is really left."""

_MARGIN_SECONDS: Final = 0.5
"""Seconds of a limit that are left unused: requests do not arrive exactly as far apart as they were admitted."""

_TOLERATED_OUTAGES: Final = 5
"""Failures in a row that open the circuit."""

_LONGEST_OPEN_SECONDS: Final = 15.0
"""Longest break of the circuit: a probe is one short text, and a server that is back is to be found soon."""

_PROBE_SECONDS: Final = 10.0
"""Time after which a probe without an outcome may be followed by another: its process may be dead."""

_LONGEST_BLOCK_SECONDS: Final = 86_400.0

_STREAK_SECONDS: Final = 900.0
"""Failures further apart are not one outage; more than an answer may take plus the longest break of the circuit."""

_ROUNDING: Final = 1e-6

IDLE_TIMEOUT: Final = "10s"
"""Time after which the server ends the transaction of a process that is stopped, or whose machine is gone: it has locks
for which everybody waits."""

_TIMES: Final = ("refilled_at", "blocked_until", "failing_since", "failed_at", "open_until")
_COUNTS: Final = (
    "requests_configured", "requests_learned", "requests_available", "requests_admitted",
    "tokens_configured", "tokens_learned", "tokens_available", "tokens_admitted", "corrected_by", "outages",
)  # fmt: skip

# The clock is read once the row is locked. Times are seconds since 1970: arithmetic in the session's time zone goes
# wrong where that changes its clocks.
_LOCK = sql.SQL("""
    WITH locked AS MATERIALIZED (
        SELECT * FROM embedding_endpoints
        WHERE name = coalesce(%(name)s::text, (SELECT endpoint FROM embedding_usage WHERE id = %(reservation)s))
        FOR UPDATE
    )
    SELECT name, extract(epoch FROM clock_timestamp())::float8, {}, {},
           set_config('idle_in_transaction_session_timeout', %(idle)s, true)
    FROM locked
""").format(
    sql.SQL(", ").join(map(sql.Identifier, _COUNTS)),
    sql.SQL(", ").join(sql.SQL("extract(epoch FROM {})::float8").format(sql.Identifier(name)) for name in _TIMES),
)
_SAVE = sql.SQL("UPDATE embedding_endpoints SET {}, {} WHERE name = %(name)s").format(
    sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in _COUNTS),
    sql.SQL(", ").join(
        sql.SQL("{} = to_timestamp({})").format(sql.Identifier(name), sql.Placeholder(name)) for name in _TIMES
    ),
)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """An endpoint's limits as configured; None: not configured."""

    requests_per_minute: int | None
    tokens_per_minute: int | None


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """An answer's headers about its endpoint's limits; None: not sent."""

    limit_requests: int | None
    remaining_requests: int | None
    limit_tokens: int | None
    remaining_tokens: int | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A limit of so many a minute, and how much of it can be used at once; it refills continuously.

    Attributes:
        configured: the limit by our settings.
        learned: the limit that the endpoint's headers name.
        available: what may be used now; negative after a request larger than the limit. None while no limit is known.
        admitted: all that was ever used; the difference of two readings was used between them.
    """

    configured: int | None
    learned: int | None
    available: float | None
    admitted: int

    @property
    def limit(self) -> int | None:
        """The limit in force: the lower one."""
        return min((limit for limit in (self.configured, self.learned) if limit is not None), default=None)

    @property
    def is_ours(self) -> bool:
        """True if the limit is below that of the endpoint, which does not count by it."""
        return self.configured is not None and self.learned is not None and self.configured < self.learned

    def refilled(self, seconds: float) -> Self:
        """The bucket that many seconds later."""
        if self.limit is None or self.available is None:
            return replace(self, available=None)
        available = self.available + self.limit / 60 * max(seconds, 0.0)
        return replace(self, available=min(available, float(self.limit)))

    def started(self) -> Self:
        """The bucket with something in it, if there is a limit and no answer has said what is left."""
        if self.limit is None or self.available is not None:
            return self
        return replace(self, available=self.limit / 60 * _BURST_SECONDS)

    def wait_seconds(self, amount: int) -> float:
        """Seconds until ``amount`` may be used. What is more than the limit may be once the bucket is full."""
        if self.limit is None or self.available is None:
            return 0.0
        missing = min(amount, self.limit) - self.available
        return missing * 60 / self.limit if missing > _ROUNDING else 0.0

    def taken(self, amount: int) -> Self:
        """The bucket after ``amount`` was used."""
        available = None if self.available is None else self.available - amount
        return replace(self, available=available, admitted=self.admitted + amount)

    def charged(self, amount: int) -> Self:
        """The bucket after a request turned out to have used so much more than was taken; less, where negative."""
        if self.limit is None or self.available is None:
            return self
        return replace(self, available=min(self.available - amount, float(self.limit)))

    def corrected(self, limit: int | None, remaining: int | None, uncounted: int) -> Self:
        """The bucket after an answer said what the endpoint leaves, which others with the same key use too.

        Args:
            limit: a minute's worth; None: not said.
            remaining: what was left of it when the answered request arrived; None: not said.
            uncounted: what was used here that may not have been counted by then.
        """
        bucket = replace(self, learned=limit if limit and limit > 0 else self.learned).refilled(0.0).started()
        if bucket.limit is None or bucket.available is None or remaining is None:
            return bucket
        theirs = bucket.learned or bucket.limit
        available = max(remaining - uncounted, 0) - theirs / 60 * _MARGIN_SECONDS
        if bucket.limit < theirs:
            # A limit of ours below the endpoint's is ours to count; what is left there can only lower it.
            available = min(available, bucket.available)
        return replace(bucket, available=min(available, float(bucket.limit)))

    def emptied(self) -> Self:
        """The bucket after a refusal that did not say what is left."""
        return replace(self, available=None if self.available is None else min(self.available, 0.0))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and an account there; times in seconds since 1970 by the database's clock.

    Attributes:
        name: the digest that stands for them.
        now: when this was read.
        requests: the limit of requests a minute.
        tokens: the limit of tokens a minute.
        corrected_by: the latest reservation whose answer was taken into account; None: nothing was answered yet.
        blocked_until: nothing is sent before.
        failing_since: first failure since the last answer.
        failed_at: latest of those failures.
        outages: how many they are; those of requests sent before the circuit opened are not counted further.
        open_until: when the circuit lets the next probe through; None while it is closed.
    """

    name: str
    now: float
    requests: Bucket
    tokens: Bucket
    corrected_by: int | None
    blocked_until: float | None
    failing_since: float | None
    failed_at: float | None
    outages: int
    open_until: float | None

    @property
    def outage_seconds(self) -> float:
        """Seconds for which it has been failing; 0 if it is not, or did so too long ago to mean anything."""
        return max(self.now - self.failing_since, 0.0) if self.failing_since and self._fails_still else 0.0

    @property
    def _fails_still(self) -> bool:
        return self.failed_at is not None and self.now - self.failed_at <= _STREAK_SECONDS

    @property
    def open_seconds(self) -> float:
        """Seconds for which the circuit stays open."""
        return max((self.open_until or 0.0) - self.now, 0.0)

    @property
    def blocked_seconds(self) -> float:
        """Seconds for which the endpoint wants no requests."""
        return max((self.blocked_until or 0.0) - self.now, 0.0)

    def configured(self, limits: RateLimits) -> Self:
        """The endpoint under these settings."""
        requests = replace(self.requests, configured=limits.requests_per_minute).refilled(0.0)
        tokens = replace(self.tokens, configured=limits.tokens_per_minute).refilled(0.0)
        if self.corrected_by is not None:
            requests, tokens = requests.started(), tokens.started()
        return replace(self, requests=requests, tokens=tokens)

    def wait_seconds(self, tokens: int) -> float:
        """Seconds until a request of so many tokens keeps to the limits."""
        return max(self.requests.wait_seconds(1), self.tokens.wait_seconds(tokens))

    def admitted(self, tokens: int) -> Self:
        """The endpoint after a request was let through: a probe, if the circuit was open."""
        open_until = None if self.open_until is None else self.now + _PROBE_SECONDS
        return replace(self, requests=self.requests.taken(1), tokens=self.tokens.taken(tokens), open_until=open_until)

    def charged(self, tokens: int) -> Self:
        """The endpoint after a request took so many tokens more than it likely would."""
        return replace(self, tokens=self.tokens.charged(tokens))

    def corrected(self, reservation: int, rates: RateHeaders, uncounted: tuple[int, int]) -> Self:
        """The endpoint after the answer to ``reservation``, of whose requests and tokens ``uncounted`` came later."""
        return replace(
            self,
            corrected_by=reservation,
            requests=self.requests.corrected(rates.limit_requests, rates.remaining_requests, uncounted[0]),
            tokens=self.tokens.corrected(rates.limit_tokens, rates.remaining_tokens, uncounted[1]),
        )

    def blocked(self, seconds: float) -> Self:
        """The endpoint after it said when to come back."""
        until = self.now + min(max(seconds, 0.0), _LONGEST_BLOCK_SECONDS)
        return replace(self, blocked_until=max(until, self.blocked_until or 0.0))

    def emptied(self) -> Self:
        """The endpoint after it refused for rate and did not say what is left."""
        return replace(self, requests=self.requests.emptied(), tokens=self.tokens.emptied())

    def answered(self) -> Self:
        """The endpoint after it proved to be up."""
        return replace(self, failing_since=None, failed_at=None, outages=0, open_until=None)

    def given_up(self, *, probe: bool) -> Self:
        """The endpoint after somebody did not wait for it: if that was the probe, another may follow at once."""
        return replace(self, open_until=self.now) if probe and self.open_until is not None else self

    def failed(self, *, probe: bool, slow: bool = False) -> Self:
        """The endpoint after a sign that it is down.

        Args:
            probe: it failed on a text that is known to be good.
            slow: it did not answer in time, so that a probe is to find out before it is sent more.
        """
        since, outages, open_until = self.failing_since, self.outages, self.open_until
        if since is None or not self._fails_still:
            since, outages, open_until = self.now, 0, None
        # Many of the requests in flight fail when the circuit opens; only those that find it closed count, and probes.
        if open_until is None or probe:
            outages = max(outages + 1, _TOLERATED_OUTAGES) if probe else outages + 1
            open_until = self.now if slow else None
            if outages >= _TOLERATED_OUTAGES:
                seconds = min(2.0 ** min(outages - _TOLERATED_OUTAGES, 10), _LONGEST_OPEN_SECONDS)
                open_until = self.now + seconds * random.uniform(0.75, 1.0)  # noqa: S311 (a jitter)
        return replace(self, failing_since=since, failed_at=self.now, outages=outages, open_until=open_until)


def ask_endpoint(
    connection: Connection, *, name: str | None = None, reservation: int | None = None
) -> Callable[[], Endpoint | None]:
    """Lock an endpoint, by its name or by one of its reservations; returns how to read it, None where there is none."""
    found = connection.execute(_LOCK, {"name": name, "reservation": reservation, "idle": IDLE_TIMEOUT})

    def read() -> Endpoint | None:
        row = found.fetchone()
        return _endpoint_of(row) if row else None

    return read


def lock_endpoint(connection: Connection, name: str) -> Endpoint:
    """The endpoint as of now, known from here on; locked, so that admissions to it happen one after the other."""
    endpoint = ask_endpoint(connection, name=name)()
    if endpoint is None:
        connection.execute("INSERT INTO embedding_endpoints (name) VALUES (%s) ON CONFLICT DO NOTHING", [name])
        endpoint = ask_endpoint(connection, name=name)()
        assert endpoint
    return endpoint


def outage_until(database: Database, name: str) -> datetime | None:
    """Time at which an endpoint that is down is asked again (UTC); None when it may be asked now."""
    query = "SELECT open_until FROM embedding_endpoints WHERE name = %s AND open_until > now()"
    row = database.run(lambda connection: connection.execute(query, [name]).fetchone())
    return row[0].astimezone(UTC) if row else None


def save_endpoint(connection: Connection, endpoint: Endpoint) -> None:
    """Keep what became of a locked endpoint."""
    values: dict[str, Any] = {"name": endpoint.name, "refilled_at": endpoint.now}
    for prefix, bucket in (("requests", endpoint.requests), ("tokens", endpoint.tokens)):
        values |= {f"{prefix}_{field.name}": getattr(bucket, field.name) for field in fields(Bucket)}
    values |= {name: getattr(endpoint, name) for name in (*_COUNTS, *_TIMES) if name not in values}
    connection.execute(_SAVE, values)


def _endpoint_of(row: tuple[Any, ...]) -> Endpoint:
    found, now, *values, _ = row
    refilled_at = values[len(_COUNTS)]
    requests, tokens = (Bucket(*part).refilled(now - refilled_at) for part in (values[:4], values[4:8]))
    corrected_by, outages, _, blocked_until, failing_since, failed_at, open_until = values[8:]
    return Endpoint(
        name=found,
        now=now,
        requests=requests,
        tokens=tokens,
        corrected_by=corrected_by,
        blocked_until=blocked_until,
        failing_since=failing_since,
        failed_at=failed_at,
        outages=outages,
        open_until=open_until,
    )
