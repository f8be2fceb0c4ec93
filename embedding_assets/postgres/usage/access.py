"""Whether requests can be counted at all: replicas and roles that only read cannot write the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Database


def may_write_ledger(database: Database) -> bool:
    """True if the role, on this server, may enter requests and what they cost."""
    # Each right by itself: of several in one string, any would do.
    query = """
        SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'
               AND bool_and(coalesce(has_table_privilege(to_regclass(relation)::oid, privilege), false))
        FROM unnest(ARRAY['embedding_usage', 'embedding_spending', 'embedding_endpoints']) AS relation,
             unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        WHERE privilege <> 'DELETE' OR relation = 'embedding_usage'
    """
    return database.run(lambda connection: connection.execute(query).fetchone()) == (True,)
