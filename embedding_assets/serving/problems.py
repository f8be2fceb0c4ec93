"""What cannot be answered: one record, and as it reaches a client (RFC 9457)."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from embedding_assets.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    EmbeddingAssetsError,
    ModelUnavailableError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitExceededError,
    TableNotAdoptedError,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_UNAVAILABLE: Final[Mapping[tuple[type[EmbeddingAssetsError], ...], str]] = {
    (DatabaseUnavailableError,): "the database cannot be reached",
    (
        ProviderUnavailableError,
        RateLimitExceededError,
    ): "what embeds the question does not answer now",
}
"""What may pass by itself."""

Outcome = Literal["answered", "refused", "busy", "timeout", "unavailable", "failed"]
"""What became of a search: answered; refused as it was asked; or not answered, for what."""

AGAIN_SECONDS: Final = 5
"""After which a client may ask again where something is down."""


class Problem(Exception):  # noqa: N818 (the word of RFC 9457)
    """Why a request is not answered; whatever it says may be seen by the client.

    Attributes:
        status: of HTTP.
        detail: a sentence.
        outcome: of the search, for the metrics.
        again_seconds: after which the same request may succeed; None: not by waiting.
        fields: what is wrong with which part of the request.
        headers: of the response.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        outcome: Outcome = "refused",
        again_seconds: int | None = None,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.outcome = outcome
        self.again_seconds = again_seconds
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})
        if again_seconds is not None:
            self.headers["Retry-After"] = str(again_seconds)

    @property
    def sentence(self) -> str:
        """The detail, and what is wrong with which field, on one line."""
        fields = "; ".join(f"{name}: {detail}" for name, detail in self.fields.items())
        return f"{self.detail} ({fields})" if fields else self.detail

    def document(self) -> dict[str, Any]:
        """As JSON."""
        fields = [{"field": name, "detail": detail} for name, detail in self.fields.items()]
        return {
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            **({"errors": fields} if fields else {}),
        }


def problem_of(error: Exception) -> Problem:
    """What a client may know of an error; what it may not is logged, without the text of a question or a chunk."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ConfigurationError) and not isinstance(error, TableNotAdoptedError):
        return Problem(HTTPStatus.BAD_REQUEST, str(error))
    if not isinstance(error, EmbeddingAssetsError):
        # Its own words may hold what was read.
        logger.error("a request failed: %s at %s", type(error).__name__, _place(error))
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the request failed; the service's log says where",
                       outcome="failed")  # fmt: skip
    logger.warning("a search was not answered: %s", error)
    for kinds, detail in _UNAVAILABLE.items():
        if isinstance(error, kinds):
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, outcome="unavailable", again_seconds=AGAIN_SECONDS)
    if isinstance(error, ProviderError | ModelUnavailableError):
        return Problem(HTTPStatus.BAD_GATEWAY, "the question cannot be embedded; the service's log says why",
                       outcome="failed")  # fmt: skip
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the search failed; the service's log says why", outcome="failed")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
