"""Structured logs: one JSON object a line, a run id that ties lines together, no passwords."""

from __future__ import annotations

import logging
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from embedding_assets.config import LoggingConfig

__all__ = ["configure_logging", "correlate"]

_run_id: ContextVar[str] = ContextVar("embedding_assets_run_id", default="")

_PASSWORD_IN_URL: Final = re.compile(r"(://[^:/?#\s]*:)[^@\s]+@")
_PASSWORD_IN_DSN: Final = re.compile(r"(\bpassword\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)


@contextmanager
def correlate(run_id: str | None = None) -> Iterator[str]:
    """Give all log lines written inside the same ``run_id``: the given one, the one already in force, or a new one."""
    value = run_id or _run_id.get() or uuid.uuid4().hex[:12]
    token = _run_id.set(value)
    try:
        yield value
    finally:
        _run_id.reset(token)


def configure_logging(config: LoggingConfig) -> None:
    """Send this package's logs, and warnings of others, to standard error."""
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_prepare)
    if config.format == "json":
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}{run_id}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("embedding_assets").setLevel(config.level)


def redact(text: str) -> str:
    """The text without the passwords of connection strings."""
    return _PASSWORD_IN_DSN.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1***@", text))


def _prepare(record: logging.LogRecord) -> bool:
    record.run_id = _run_id.get()
    record.msg, record.args = redact(record.getMessage()), None
    return True
