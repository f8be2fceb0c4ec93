"""What is told of a failed run or check, and the webhook it is told to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final, Literal
from urllib.error import HTTPError, URLError
from urllib.request import (
    AbstractHTTPHandler,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    build_opener,
)

import tenacity
from pydantic import SecretStr

from embedding_assets import errors
from embedding_assets.logs import redact

ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 5.0
DEADLINE_SECONDS: Final = 20.0

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
        warnings: likewise, those that only warn.
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
        told_of = "failed" if self.checks else "warn"
        outcome = f"succeeded, but checks {told_of}" if self.event == "checks_failed" else "failed"
        causes = [*map(str, self.steps[:_SHOWN]), *(f"check {name}" for name in self.checks)]
        causes += [f"warning {name}" for name in self.warnings]
        if not causes and self.reason:
            causes = [self.reason.lower().replace("_", " ")]
        why = f": {'; '.join(causes)}" if causes else ""
        again = " (Dagster starts it again)" if self.will_retry else ""
        return f"{what}{where} {outcome}, run {self.run_id[:8]}{again}{why}"

    def payload(self) -> dict[str, Any]:
        """What is posted: ``text``, which Slack and its like show, and the same as fields."""
        return {
            "text": self.text,
            "event": self.event,
            "run_id": self.run_id,
            "job": self.job,
            "assets": list(self.assets),
            "partitions": self.partitions,
            "steps": [{"step": s.step, "error": s.error, "message": s.message} for s in self.steps],
            "checks": list(self.checks),
            "warnings": list(self.warnings),
            "reason": self.reason,
            "will_retry": self.will_retry,
        }


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
        if line.name in errors.__all__ and line.text.startswith(module):
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
) -> str | None:
    """Post it as JSON, up to three times; a server that answers too late may get it twice.

    Args:
        url: of the webhook.
        alert: what to tell.
        timeout_seconds: longest silence of the server.
        deadline_seconds: for all tries together, also if the server never ends an answer that it began.

    Returns:
        None, or why it was not delivered and what to do; never with the URL, which is a secret.
    """
    request = Request(  # noqa: S310 - the settings let only http and https through
        url.get_secret_value(),
        data=json.dumps(alert.payload()).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "embedding-assets"},
        method="POST",
    )
    end = time.monotonic() + deadline_seconds

    def attempt() -> _Hindrance | None:
        left = end - time.monotonic()
        with suppress(TimeoutError):
            if left > 0:
                return _post_within(left, request, timeout_seconds)
        told = f"did not answer within {deadline_seconds:g} s; see whether its server is well"
        return _Hindrance(told, passes=False)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda hindrance: hindrance is not None and hindrance.passes),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.5),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    hindrance = retrying(attempt)
    return f"the webhook of EMBEDDING_ALERT_WEBHOOK_URL {hindrance.text}" if hindrance else None


@dataclass(frozen=True, slots=True)
class _Hindrance:
    text: str
    passes: bool


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST becomes a GET, whose page would pass for a delivery."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        return None


class _Connections:
    """Those that are open, to be shut by another thread than the one that waits for them."""

    def __init__(self) -> None:
        self._opened: list[HTTPConnection] = []

    def opener(self) -> OpenerDirector:
        """One that enters its connections here."""
        opened = self._opened

        class Entered(AbstractHTTPHandler):
            def do_open(self, http_class: Callable[..., HTTPConnection], req: Request, **options: Any) -> HTTPResponse:
                def connect(*args: Any, **kwargs: Any) -> HTTPConnection:
                    opened.append(http_class(*args, **kwargs))
                    return opened[-1]

                return super().do_open(connect, req, **options)

        class Http(Entered, HTTPHandler):
            pass

        class Https(Entered, HTTPSHandler):
            pass

        return build_opener(_NoRedirect, Http, Https)

    def shut(self) -> None:
        """Whoever waits for them is told that they are closed."""
        for connection in self._opened:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)


def _post_within(seconds: float, request: Request, timeout_seconds: float) -> _Hindrance | None:
    """As ``_post``, but a TimeoutError after ``seconds``; the time-out of a socket counts from each byte anew."""
    connections = _Connections()
    outcome: Future[_Hindrance | None] = Future()

    def work() -> None:
        try:
            outcome.set_result(_post(connections.opener(), request, timeout_seconds))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            outcome.set_exception(error)

    threading.Thread(target=work, name="alert", daemon=True).start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        connections.shut()
        raise


def _post(opener: OpenerDirector, request: Request, timeout_seconds: float) -> _Hindrance | None:
    # Errors are told by their class alone: some quote the URL.
    try:
        with opener.open(request, timeout=timeout_seconds):
            return None
    except HTTPError as error:
        error.close()
        if error.code < 400:
            return _Hindrance(f"redirects (HTTP {error.code}); set it to the address it leads to", passes=False)
        if error.code < 500 and error.code != 429:
            return _Hindrance(
                f"refuses alerts (HTTP {error.code}); see whether it is still the right one", passes=False
            )
        return _Hindrance(f"fails (HTTP {error.code}, {ATTEMPTS} tries); see whether its server is well", passes=True)
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, BaseException) else error
        return _Hindrance(
            f"could not be reached ({type(cause).__name__}, {ATTEMPTS} tries); see whether its server is up, and "
            "whether HTTPS_PROXY and NO_PROXY are right",
            passes=True,
        )
