"""SQLAlchemy's connections of another library, in a schema of ours by a statement: poolers refuse ``options``."""

from __future__ import annotations

from typing import Any, Final

from psycopg import sql
from sqlalchemy import event
from sqlalchemy.engine import Engine

from embedding_assets.postgres.url import normalize_url

_MARK: Final = "embedding_assets in schema "
"""Of connections to place, in a parameter that any application name hides from the server."""


def place_in_schema(url: str, schema: str) -> str:
    """A URL whose connections, made by any engine of SQLAlchemy in this process, have ``schema`` as search path."""
    if not event.contains(Engine, "connect", _place):
        event.listen(Engine, "connect", _place)
    return normalize_url(url, fallback_application_name=f"{_MARK}{schema}")


def _place(connection: Any, _: Any) -> None:
    parameters = getattr(getattr(connection, "info", None), "dsn_parameters", {})  # psycopg2's
    mark = parameters.get("fallback_application_name", "")
    if not mark.startswith(_MARK):
        return
    statement = sql.SQL("SET search_path TO {}").format(sql.Identifier(mark.removeprefix(_MARK)))
    with connection.cursor() as cursor:
        cursor.execute(statement.as_string(None))
    connection.commit()
