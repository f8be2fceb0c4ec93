"""Retries of one request to an API: when, after which pause, and what the log says of it."""

from __future__ import annotations

import logging
from typing import Final

import tenacity

from embedding_assets.providers.openai.outcomes import Outcome

logger = logging.getLogger(__name__)

_BACKOFF: Final = tenacity.wait_random_exponential(multiplier=0.5, max=20.0)


class AgainError(Exception):
    """Try the request again: after a pause because of an outcome, or at once where there is none."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        super().__init__()
        self.outcome = outcome


def pause(state: tenacity.RetryCallState) -> float:
    """Seconds to wait before the next attempt."""
    return _BACKOFF(state) if _retried_for(state) else 0.0


def log_retry(state: tenacity.RetryCallState) -> None:
    """Log that a request of the call is tried again, and why."""
    outcome, seconds = _retried_for(state), state.upcoming_sleep
    if outcome is not None:
        inputs = len(state.args[0].texts)
        logger.warning(
            "request of %d texts failed (%s), trying again in %.1f s (attempt %d)",
            inputs,
            outcome.reason,
            seconds,
            state.attempt_number,
            extra={"inputs": inputs, "status": outcome.status, "outcome": outcome.kind, "seconds": round(seconds, 3)},
        )


def _retried_for(state: tenacity.RetryCallState) -> Outcome | None:
    error = state.outcome.exception() if state.outcome else None
    return error.outcome if isinstance(error, AgainError) else None
