"""Alerts on failed runs and checks, and the webhook that they are posted to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import tenacity

from embedding_assets import errors
from embedding_assets.logs import redact, unlogged_client

if TYPE_CHECKING:
    import httpx2
    from pydantic import SecretStr

ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 5.0
DEADLINE_SECONDS: Final = 20.0

_UNPROCESSED: Final = frozenset({429, 503})
"""Statuses by which a server says that it did nothing with a post; 502 and 504 are a proxy's, which had sent it on."""

_GRACE_SECONDS: Final = 1.0
"""Within which a delivery that is cancelled at its deadline ends by itself."""

_LONGEST_MESSAGE: Final = 500
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """An exception as Python prints it: its class without and its last line with the module."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that failed: the class of the error, and its message if that is one of this package's."""

    step: str
    error: str
    message: str | None = None

    def __str__(self) -> str:
        return f"{self.step}: {self.error}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True, slots=True)
class Alert:
    """A run that failed, or that succeeded with checks that did not.

    Attributes:
        assets: those the run was for, where it was not a whole job.
        partitions: e.g. ``0-7``; None where there are none.
        checks: ``asset:check``, those of error severity that failed.
        warnings: those that only warn.
        reason: Dagster's word for the failure, e.g. ``STEP_FAILURE``.
        will_retry: whether Dagster starts the run again.
    """

    event: Literal["run_failed", "checks_failed"]
    run_id: str
    job: str
    assets: Sequence[str] = ()
    partitions: str | None = None
    steps: Sequence[StepFailure] = ()
    checks: Sequence[str] = ()
    warnings: Sequence[str] = ()
    reason: str | None = None
    will_retry: bool = False

    @property
    def text(self) -> str:
        """One line for people."""
        what = ", ".join(self.assets) or self.job
        where = f" (partitions {self.partitions})" if self.partitions else ""
        verb = "failed" if self.checks else "warn"
        outcome = f"succeeded, but checks {verb}" if self.event == "checks_failed" else "failed"
        causes = [*map(str, self.steps[:_SHOWN]), *(f"check {name}" for name in self.checks)]
        causes += [f"warning {name}" for name in self.warnings]
        if not causes and self.reason:
            causes = [self.reason.lower().replace("_", " ")]
        why = f": {'; '.join(causes)}" if causes else ""
        again = " (Dagster starts it again)" if self.will_retry else ""
        return f"{what}{where} {outcome}, run {self.run_id[:8]}{again}{why}"

    def payload(self) -> dict[str, Any]:
        """The body of the post: ``text``, which Slack and its like show, and the same as fields."""
        return {"text": self.text, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An alert that was not delivered.

    Attributes:
        reason: why, and what to do; never with the URL, which is a secret.
        may_pass: whether the same may be delivered later, where the server surely has not got it yet.
    """

    reason: str
    may_pass: bool = False


def describe_error(chain: Iterable[ErrorLine]) -> tuple[str, str | None]:
    """Class and message of an error that is safe to send.

    Args:
        chain: the error and its causes, outermost first.

    Returns:
        The first of this package's errors with the first line of its message, which names neither text nor secrets;
        else the class of what Dagster wrapped, without its message, which might.
    """
    lines = list(chain)
    for line in lines:
        module = f"{errors.__name__}.{line.name}"
        if hasattr(errors, line.name) and line.text.startswith(module):
            message = line.text.removeprefix(module).removeprefix(": ").strip()
            return line.name, redact(message.splitlines()[0])[:_LONGEST_MESSAGE] if message else None
    wrapped = [line for line in lines if not line.text.startswith("dagster.")]
    return (wrapped or lines)[0].name if lines else "unknown", None


def post_alert(
    url: SecretStr,
    alert: Alert,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Undelivered | None:
    """Post it as JSON, up to three times; a server that takes it and answers too late may get it each time.

    Args:
        url: of the webhook.
        alert: what to post.
        timeout_seconds: longest silence of the server.
        deadline_seconds: for all attempts together, also if the server never ends an answer that it began.

    Returns:
        None, or why it was not delivered, as far as is known.
    """
    outcome: Future[Undelivered | None] = Future()
    post = _Post(url, alert.payload())

    def deliver() -> None:
        try:
            with unlogged_client():
                outcome.set_result(asyncio.run(_deliver(post, timeout_seconds, deadline_seconds)))
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            outcome.set_exception(error)

    # In a daemon thread: the look-up of a name cannot be cancelled.
    threading.Thread(target=deliver, name="alert", daemon=True).start()
    try:
        failure = outcome.result(deadline_seconds + _GRACE_SECONDS)
    except TimeoutError:
        failure = _late(deadline_seconds)
    return failure and _as_seen(failure, post)


def _as_seen(failure: Undelivered, post: _Post) -> Undelivered:
    """The last attempt's failure, in view of what became of those before."""
    reason = f"the webhook of EMBEDDING_ALERT_WEBHOOK_URL {failure.reason}"
    if failure.may_pass and post.may_be_taken:
        return Undelivered(f"{reason}; it may have taken the alert, which is not posted again")
    return replace(failure, reason=reason)


async def _deliver(post: _Post, timeout_seconds: float, deadline_seconds: float) -> Undelivered | None:
    import httpx2

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_result(lambda failure: failure is not None and failure.may_pass),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.5),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    try:
        # It reads the proxy settings of the environment.
        opening = httpx2.AsyncClient(timeout=timeout_seconds)
    except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
        return Undelivered(
            f"cannot be asked ({type(error).__name__}); check HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE"
        )
    try:
        # The client's own time-out starts again with every byte that arrives.
        async with asyncio.timeout(deadline_seconds), opening as client:
            return await retrying(post.attempt, client)
    except TimeoutError:
        return _late(deadline_seconds)


def _late(deadline_seconds: float) -> Undelivered:
    return Undelivered(f"did not answer within {deadline_seconds:g} s; check that its server is well", may_pass=True)


class _Post:
    """An alert on its way; ``may_be_taken`` once a server may have got it and did not say that it did nothing."""

    def __init__(self, url: SecretStr, payload: dict[str, Any]) -> None:
        self._url, self._payload = url, payload
        self.may_be_taken = False

    async def attempt(self, client: httpx2.AsyncClient) -> Undelivered | None:
        """One post; by ``may_pass`` of what it returns a further one at once may be delivered."""
        import httpx2

        earlier = self.may_be_taken
        # Errors are named by their class alone: some quote the URL.
        try:
            async with client.stream(
                "POST",
                self._url.get_secret_value(),
                json=self._payload,
                headers={"User-Agent": "embedding-assets"},
                extensions={"trace": self._note_sending},
            ) as response:
                status = response.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Undelivered(
                f"could not be reached ({type(error).__name__}, {ATTEMPTS} attempts); check that its server is up, and "
                "that HTTPS_PROXY and NO_PROXY are right",
                may_pass=True,
            )
        if status in _UNPROCESSED:
            self.may_be_taken = earlier
        return _judge(status)

    async def _note_sending(self, event: str, details: Mapping[str, Any]) -> None:
        """What the client does, step by step; a proxy is asked first, by a request without a body."""
        if event.endswith("send_request_body.started") and details["request"].method == b"POST":
            self.may_be_taken = True


def _judge(status: int) -> Undelivered | None:
    if status < 300:
        return None
    if status < 400:
        return Undelivered(f"redirects (HTTP {status}); set it to the address it leads to")
    if status < 500 and status != 429:
        return Undelivered(f"refuses alerts (HTTP {status}); check that it is still the right one")
    return Undelivered(f"fails (HTTP {status}, {ATTEMPTS} attempts); check that its server is well", may_pass=True)
