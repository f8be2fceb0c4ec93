"""Connection strings in the one form that every driver reads."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from embedding_assets.errors import ConfigurationError

_DRIVER: Final = re.compile(r"^(postgres(?:ql)?)\+\w+://")


def normalize_url(value: str, **defaults: str | int) -> str:
    """Write a URL (with or without SQLAlchemy's driver) or a keyword string as ``postgresql://…``.

    Args:
        value: what libpq accepts.
        defaults: libpq parameters to add unless ``value`` has them.

    Raises:
        ConfigurationError: it is neither; the message does not repeat it.
    """
    return _composed({name: str(default) for name, default in defaults.items()} | _parameters(value))


def with_search_path(value: str, schema: str) -> str:
    """The normalized URL with ``schema`` as search path; other server options in it are kept."""
    parameters = _parameters(value)
    # Of options given twice the server takes the last.
    options = f"{parameters.get('options', '')} -csearch_path={schema}".strip()
    return _composed(parameters | {"options": options})


def _parameters(value: str) -> dict[str, str]:
    try:
        parameters = conninfo_to_dict(_DRIVER.sub(r"\1://", value.strip()))
    except psycopg.ProgrammingError:
        # Not from the driver's error: it quotes the string, the password included.
        raise ConfigurationError(
            "EMBEDDING_DATABASE_URL is not a PostgreSQL connection string; "
            "write it as postgresql://user:password@host:5432/database"
        ) from None
    return {name: str(part) for name, part in parameters.items() if part is not None}


def _composed(parameters: dict[str, str]) -> str:
    rest = dict(parameters)
    user, password = (quote(rest.pop(name, ""), safe="") for name in ("user", "password"))
    credentials = f"{user}:{password}" if password else user
    address = _authority(rest)
    path = quote(rest.pop("dbname", ""), safe="")
    # Not urlencode: libpq takes a plus sign for a plus sign.
    query = "&".join(f"{name}={quote(part, safe='/')}" for name, part in rest.items())
    return f"postgresql://{credentials}{'@' if credentials else ''}{address}/{path}{'?' if query else ''}{query}"


def _authority(rest: dict[str, str]) -> str:
    """Take a plain host and its port out of ``rest``; lists and socket folders can only be parameters."""
    host = rest.get("host", "")
    if not re.fullmatch(r"[\w.:-]+", host, re.ASCII):
        return ""
    del rest["host"]
    port = rest.pop("port", "")
    return (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
