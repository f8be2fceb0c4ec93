"""Outcomes of a request to an embeddings API, and the meaning of an API's refusals.

Nothing an API says is passed on in its own words, which may quote a text: only its status, and names of errors and
parameters that look like names.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

from embedding_assets.postgres.usage.endpoints import RateHeaders
from embedding_assets.providers.openai.answers import Answer

Kind = Literal[
    "answered",  # with a vector for every text
    "malformed",  # answered and billed, but what came is not that
    "garbled",  # answered, but not even that can be read
    "lost",  # sent, and no whole answer came back
    "timed_out",  # sent, and no whole answer came back in time
    "abandoned",  # sent, and then cancelled here
    "outage",  # the server failed or could not be reached; nothing was billed
    "rate_limited",  # too early
    "quota",  # the account is out of credit
    "denied",  # no request of this kind will be answered
    "too_large",  # too many texts or tokens in the request
    "too_long",  # too many tokens in a text
    "refused",  # anything else about the request, probably a text
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a request.

    Attributes:
        kind: in a word.
        reason: for logs and errors: status and names, or the kind of failure.
        status: HTTP status; None: no answer.
        code: snake case, for what is wrong with an answer.
        advice: which setting to look at, where the server denies everything.
        rates: what the answer says about the rate limits; None: nothing.
        retry_after_seconds: when the server wants to be asked again; None: it does not say.
        answer: the vectors, if answered.
        tokens: as billed, if given.
        dimensions: length of vectors that have the wrong one.
        requested_tokens, allowed_tokens: of a text that is too long, if given.
        too_many_inputs: whether it is the number of texts by which a request is too large.
        allowed_inputs: texts that a request may have, if given.
    """

    kind: Kind
    reason: str
    status: int | None = None
    code: str = ""
    advice: str = ""
    rates: RateHeaders | None = None
    retry_after_seconds: float | None = None
    answer: Answer | None = None
    tokens: int | None = None
    dimensions: int | None = None
    requested_tokens: int | None = None
    allowed_tokens: int | None = None
    too_many_inputs: bool = False
    allowed_inputs: int | None = None


# https://platform.openai.com/docs/guides/error-codes
_QUOTA: Final = re.compile(
    r"^(insufficient_quota|billing_(hard_limit_reached|not_active)|credit_balance_exhausted"
    r"|\w*(spend|usage)_limit_exceeded)$"
)
_TOO_LARGE_CODE: Final = re.compile(r"^(max_tokens_per_request|array_above_max_length)$")
_TOO_LARGE: Final = re.compile(
    r"max \d+ tokens per request|request too large|batch size|at most \d+ (requests|inputs|texts|items|documents)"
    r"|number of (texts|inputs) must be|too many (inputs|texts)",
    re.IGNORECASE,
)
_TOO_LONG_CODE: Final = re.compile(r"^(context_length_exceeded|exceed_context_size_error|string_above_max_length)$")
_TOO_LONG: Final = re.compile(
    r"context (length|size|window)|maximum input length|must have less than \d+ tokens|input.{0,40} too (long|large)",
    re.IGNORECASE,
)
_REQUESTED: Final = re.compile(
    r"requested (\d+) tokens|resulted in (\d+) tokens|Given: (\d+)|\((\d+) tokens\)", re.IGNORECASE
)
_ALLOWED: Final = re.compile(r"(?:context|input) length is (\d+)|less than (\d+) tokens|batch size: (\d+)")
_ALLOWED_INPUTS: Final = re.compile(
    r"maximum allowed batch size (\d+)|batch size limit is (\d+)|batch size .{0,40}not be larger than (\d+)"
    r"|at most (\d+)(?: (?:requests|inputs|texts|items|documents)| - received)",
    re.IGNORECASE,
)
_MESSAGES: Final = ("message", "error", "detail", "msg")
"""Where an error says what is wrong."""

_NAME: Final = re.compile(r"^[A-Za-z$][\w$.\[\]-]{0,63}$")
_DURATION: Final = re.compile(r"^\d{1,9}(\.\d{0,9})?$")

_NEVER_SENT: Final = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")
_TIMED_OUT: Final = ("ReadTimeout", "WriteTimeout")
_NOT_SENDABLE: Final = ("UnsupportedProtocol", "LocalProtocolError")

_ADVICE: Final = {
    401: "check EMBEDDING_OPENAI_API_KEY, or OPENAI_API_KEY, which is sent to OpenAI and to OPENAI_BASE_URL alone",
    403: "check the rights of the key, EMBEDDING_OPENAI_ORGANIZATION, EMBEDDING_OPENAI_PROJECT and "
    "EMBEDDING_OPENAI_MODEL",
    404: "check EMBEDDING_OPENAI_MODEL and EMBEDDING_OPENAI_BASE_URL",
}


def classify_refusal(status: int, body: object, headers: Mapping[str, str]) -> Outcome:
    """Outcome for an answer of another status than 2xx.

    Args:
        status: of the answer, 300 or above.
        body: what it holds: the error object, decoded from JSON, or anything else.
        headers: of the answer, with lower-case names.
    """
    error = _error_in(body)
    names = [name for key in ("type", "code") if isinstance(name := error.get(key), str)]
    said = (*(error.get(key) for key in _MESSAGES), body)
    message = next((text for text in said if isinstance(text, str)), "")[:10_000]
    kind = _kind_of(status, names, message)
    given = {"code": error.get("code"), "type": error.get("type"), "param": error.get("param")}
    named = [f"{key} {name}" for key, name in given.items() if isinstance(name, str) and _NAME.match(name)]
    about_inputs = "token" not in f"{names} {message}".lower() and (status != 413 or _TOO_LARGE.search(message))
    return Outcome(
        kind,
        ", ".join([f"status {status}", *named]),
        status,
        advice=_ADVICE.get(status, "check EMBEDDING_OPENAI_BASE_URL") if kind == "denied" else "",
        rates=read_rates(headers),
        retry_after_seconds=read_retry_after(headers) if kind in ("rate_limited", "outage") else None,
        requested_tokens=_read_number(_REQUESTED, message),
        allowed_tokens=_read_number(_ALLOWED, message),
        too_many_inputs=kind == "too_large" and bool(about_inputs),
        allowed_inputs=_read_number(_ALLOWED_INPUTS, message),
    )


def classify_success(status: int, body: bytes, headers: Mapping[str, str]) -> Outcome | None:
    """Outcome for an answer of status 2xx that is an error in disguise, for which nothing is billed; None: it is not.

    Args:
        status: of the answer.
        body: what it holds, if that is not what was asked for.
        headers: of the answer, with lower-case names.
    """
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        advice = "check EMBEDDING_OPENAI_BASE_URL and HTTPS_PROXY: a page for people answers in the place of the API"
        return Outcome("denied", f"status {status}, a page instead of JSON", status, advice=advice)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = _error_in(content)
    says_why = any(isinstance(error.get(key), str) for key in _MESSAGES)
    if "data" in error or not error or (error is content and not says_why):
        return None
    code = error.get("code")
    return classify_refusal(code if type(code) is int and 300 <= code < 600 else 400, error, headers)


def _error_in(body: object) -> Mapping[str, Any]:
    """The error that a body holds, in whatever it is wrapped; the body itself where it is wrapped in nothing."""
    if isinstance(body, list) and len(body) == 1:
        return _error_in(body[0])
    if not isinstance(body, Mapping):
        return {}
    for key in ("error", "detail"):
        wrapped = body.get(key)
        if isinstance(wrapped, Mapping) or (isinstance(wrapped, list) and len(wrapped) == 1):
            return _error_in(wrapped)
    return body


def _kind_of(status: int, names: list[str], message: str) -> Kind:
    if status == 402 or _named(_QUOTA, names):
        return "quota"
    if (kind := _about_size(status, names, message)) is not None:
        return kind
    if status == 429:
        return "rate_limited"
    if status in (400, 422):
        return "refused"
    return "outage" if status in (408, 409, 425) or (status >= 500 and status != 501) else "denied"


def _about_size(status: int, names: list[str], message: str) -> Literal["too_large", "too_long"] | None:
    if status not in (400, 413, 422, 429, 500):  # some servers fail where they should refuse
        return None
    if _named(_TOO_LARGE_CODE, names):
        return "too_large"
    if status != 429 and (_named(_TOO_LONG_CODE, names) or _TOO_LONG.search(message)):
        return "too_long"
    return "too_large" if status == 413 or _TOO_LARGE.search(message) else None


def _named(pattern: re.Pattern[str], names: list[str]) -> bool:
    return any(map(pattern.match, names))


def classify_failure(error: BaseException | None) -> Outcome:
    """Outcome for a request without an answer, by the HTTP client's own error."""
    name = type(error).__name__ if error else "unknown"
    if _is_untrusted(error):
        advice = "check EMBEDDING_OPENAI_BASE_URL, or name the file with its authority's certificate in SSL_CERT_FILE"
        return Outcome("denied", "its certificate cannot be verified", advice=advice)
    if name in _NOT_SENDABLE:
        return Outcome("denied", name, advice="check EMBEDDING_OPENAI_BASE_URL and the characters of the key")
    if name in _TIMED_OUT:
        return Outcome("timed_out", name)
    return Outcome("outage" if name in _NEVER_SENT else "lost", name)


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if type(error).__name__ == "SSLCertVerificationError":
            return True
        error = error.__cause__ or error.__context__
    return False


def read_rates(headers: Mapping[str, str]) -> RateHeaders | None:
    """The limits in an answer's headers; None without any."""

    def number(name: str) -> int | None:
        value = headers.get(f"x-ratelimit-{name}", "").strip()
        return int(value) if value.isdecimal() and len(value) < 16 else None

    rates = RateHeaders(
        limit_requests=number("limit-requests") or None,
        remaining_requests=number("remaining-requests"),
        limit_tokens=number("limit-tokens") or None,
        remaining_tokens=number("remaining-tokens"),
    )
    return rates if rates != RateHeaders(None, None, None, None) else None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server wants to be asked again (RFC 9110, 10.2.3, and ``retry-after-ms``); None: not given."""
    for name, seconds in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if _DURATION.match(value):
            return float(value) * seconds
    until = _read_date(headers, "retry-after")
    if until is None:
        return None
    # By the server's own clock, if it tells it.
    now = _read_date(headers, "date")
    return max(0.0, until - (time.time() if now is None else now))


def _read_date(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return parsedate_to_datetime(headers.get(name, "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _read_number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return next((int(group[:12]) for group in found.groups() if group), None) if found else None
