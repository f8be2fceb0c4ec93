"""Connection strings in the one form that every driver reads; what is wrong with one, without repeating it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from embedding_assets.errors import ConfigurationError

KEEPALIVES: Final[Mapping[str, int]] = {
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}
"""libpq's parameters by which a server that vanished is noticed after 40 seconds; the last one in milliseconds."""

_DRIVER: Final = re.compile(r"^(postgres(?:ql)?)\+\w+://")
_SCHEME: Final = re.compile(r"^postgres(?:ql)?://")
_PARAMETER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")

_POOL: Final = "EMBEDDING_DATABASE_POOL_SIZE says how many connections there are"
_POOLER: Final = "connect to the server itself, or to the pooler's session mode"
_SEARCH_PATH: Final = "ALTER ROLE … SET search_path = … says in which schemas tables are looked for"
_NO_LIBPQ_SSL: Final = "sslmode and sslrootcert say how the connection is encrypted"

_ADVICE: Final[Mapping[str, str]] = {
    "pgbouncer": _POOLER,
    "supa": _POOLER,
    "prepared_statements": _POOLER,
    "statement_cache_size": _POOLER,
    "preparethreshold": _POOLER,
    "schema": _SEARCH_PATH,
    "currentschema": _SEARCH_PATH,
    "search_path": _SEARCH_PATH,
    "connection_limit": _POOL,
    "pool_size": _POOL,
    "max_overflow": _POOL,
    "pool_timeout": "EMBEDDING_DATABASE_CONNECT_TIMEOUT_SECONDS says how long a connection is waited for",
    "socket_timeout": "EMBEDDING_DATABASE_CONNECT_TIMEOUT_SECONDS says how long a connection is waited for",
    "ssl": _NO_LIBPQ_SSL,
    "sslaccept": _NO_LIBPQ_SSL,
    "statement_timeout": "ALTER ROLE … SET statement_timeout = … limits statements",
}
"""Parameters of other tools' URLs, in lower case, and what does their work here."""

_ACCEPTED_VALUES: Final[Mapping[str, frozenset[str]]] = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
}


def normalize_url(value: str, **defaults: str | int) -> str:
    """Write a URL (with or without SQLAlchemy's driver) or a keyword string as ``postgresql://…``.

    Args:
        value: what libpq accepts.
        defaults: libpq parameters to add unless ``value`` has them.

    Raises:
        ConfigurationError: it is neither, has parameters of another tool, or a password that is not percent-encoded;
            the message repeats neither the password nor any value.
    """
    return _composed({name: str(default) for name, default in defaults.items()} | _parameters(value))


def _parameters(value: str) -> dict[str, str]:
    value = _DRIVER.sub(r"\1://", value.strip())
    if _SCHEME.match(value):
        _check_url(value)
    try:
        parameters = conninfo_to_dict(value)
    except psycopg.ProgrammingError:
        # Not from the driver's error: it quotes the string, the password included.
        raise _malformed("is not a PostgreSQL connection string") from None
    for name, accepted in _ACCEPTED_VALUES.items():
        if name in parameters and parameters[name] not in accepted:
            raise ConfigurationError(f"EMBEDDING_DATABASE_URL: {name} must be one of {', '.join(sorted(accepted))}")
    if not re.fullmatch(r"(\d{0,5},?)*", str(parameters.get("port") or ""), re.ASCII):
        raise ConfigurationError("EMBEDDING_DATABASE_URL: the port must be a number, behind the host and a colon")
    return {name: str(part) for name, part in parameters.items() if part is not None}


def _malformed(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"EMBEDDING_DATABASE_URL {what}; write it as postgresql://user:password@host:5432/database, with @ / % ? # : "
        "in the password percent-encoded as %40 %2F %25 %3F %23 %3A"
    )


def _check_url(url: str) -> None:
    """Refuse what libpq would misread or refuse, before its errors can quote a part of the password."""
    rest = _SCHEME.sub("", url)
    # As libpq does: user and password end at the first @, if that comes before any slash.
    credentials, at, address = rest.partition("@")
    if not at or "/" in credentials:
        credentials, address = "", rest
    path, _, query = address.partition("?")
    if "@" in path or ("@" in query and "/" not in path):
        raise _malformed("has a password or user name with characters that end it early")
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise _malformed("has a percent sign that begins no percent-encoded character")
    pairs = [part.partition("=") for part in query.split("&") if part]
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    foreign = [name for name, _, value in pairs if name not in known and (name, value) != ("ssl", "true")]
    if not foreign:
        return
    if "@" in query or not all(_PARAMETER_NAME.fullmatch(name) for name in foreign):
        raise _malformed("is not a PostgreSQL connection string")
    advice = {_ADVICE[name.lower()]: None for name in foreign if name.lower() in _ADVICE}
    what = f"has parameters that PostgreSQL does not know: {', '.join(dict.fromkeys(foreign))}"
    raise ConfigurationError(f"EMBEDDING_DATABASE_URL {what}; remove them" + "".join(f"; {words}" for words in advice))


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
