"""Structured logs: one JSON object a line, a run id that ties lines together, no passwords."""

from __future__ import annotations

import logging
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from embedding_assets.config import LoggingConfig

_run_id: ContextVar[str] = ContextVar("embedding_assets_run_id", default="")

# Up to the last @ of the word: one in a password should be percent-encoded, but often is not.
_PASSWORD_IN_URL: Final = re.compile(r"(://[^:/?#\s]*:)(?:(?!://)\S)+@")
_PASSWORD_IN_DSN: Final = re.compile(r"(\b(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)


@contextmanager
def correlate(run_id: str | None = None) -> Iterator[str]:
    """Give all log lines written inside the same ``run_id``: the given one, the one already in force, or a new one."""
    value = run_id or _run_id.get() or uuid.uuid4().hex[:12]
    token = _run_id.set(value)
    try:
        yield value
    finally:
        _run_id.reset(token)


def current_run_id() -> str:
    """The ``run_id`` in force; empty outside ``correlate``."""
    return _run_id.get()


def configure_logging(config: LoggingConfig) -> None:
    """Send this package's logs, and warnings of others, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_run_id)
    handler.setFormatter(_json_formatter() if config.format == "json" else _TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("embedding_assets").setLevel(config.level)
    # Its warnings repeat, once a connection attempt, what our own retries already log; or say how a connection was left
    # that an error or Ctrl-C ended, of which our own sentence speaks.
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def redact(text: str) -> str:
    """The text without the passwords of connection strings."""
    return _PASSWORD_IN_DSN.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1***@", text))


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list | tuple) else value


def _add_run_id(record: logging.LogRecord) -> bool:
    record.run_id = _run_id.get()
    return True


# Redacted when formatted, not in a filter: tracebacks are part of it, and other handlers keep the record as it was.
class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(run_id)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class RedactingFormatter(JsonFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {key: _redacted(value) for key, value in super().process_log_record(log_data).items()}

    return RedactingFormatter(
        "{asctime}{levelname}{name}{message}{run_id}",
        style="{",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
    )


@contextmanager
def unlogged_client() -> Iterator[None]:
    """Keeps the HTTP client from logging what this thread does: its lines hold addresses, which may be secret."""
    thread, client = threading.get_ident(), logging.getLogger("httpx2")

    def others(record: logging.LogRecord) -> bool:
        return bool(record.thread != thread)

    client.addFilter(others)
    try:
        yield
    finally:
        client.removeFilter(others)
