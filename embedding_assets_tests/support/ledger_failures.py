"""A ledger that takes reservations and refuses to hear what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def unsettleable(connection: psycopg.Connection) -> Iterator[None]:
    """No reservation can be closed meanwhile."""
    connection.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON embedding_usage FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    connection.commit()
    try:
        yield
    finally:
        connection.execute("DROP FUNCTION refuse CASCADE")
        connection.commit()
