"""Triggers that note which rows of a source changed: they never fail, and wait for nothing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, Literal

from psycopg import errors as pg
from psycopg import sql

from embedding_assets.errors import ConfigurationError, DatabasePermissionError
from embedding_assets.postgres.sources import text_form_clauses
from embedding_assets.postgres.table import template_columns

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection
    from embedding_assets.postgres.sources import Source

WatchState = Literal["there", "missing"]

_TRANSITIONS: Final = {
    "INSERT": "REFERENCING NEW TABLE AS rows_after",
    "UPDATE": "REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after",
    "DELETE": "REFERENCING OLD TABLE AS rows_before",
    "TRUNCATE": "",
}

# Runs as its owner, so that whoever writes to the source needs no right on the notes. Where the notes are gone, or a
# column was renamed, the writer's statement still succeeds: a sync sees that, and compares everything. EXCEPT of
# digests rather than a join by key: no plan of it takes quadratic time in an update of many rows.
_FUNCTION: Final = """
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {records} AND c.relname = 'synced_changes'
          AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'INSERT')
    ) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' OR {count} > (
        SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND attname = ANY({names}) AND NOT attisdropped
    ) THEN
        INSERT INTO {notes} (source, key) VALUES ({source}, NULL);
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO {notes} (source, key) SELECT {source}, {key} FROM rows_after k;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO {notes} (source, key) SELECT {source}, {key} FROM rows_before k;
    ELSE
        INSERT INTO {notes} (source, key)
        SELECT DISTINCT {source}, changed.key FROM (
            (SELECT {key} AS key, {digest} FROM rows_before k EXCEPT SELECT {key}, {digest} FROM rows_after k)
            UNION ALL
            (SELECT {key}, {digest} FROM rows_after k EXCEPT SELECT {key}, {digest} FROM rows_before k)
        ) AS changed;
    END IF;
    RETURN NULL;
END
"""


def watch_state(connection: Connection, records: str, source: Source) -> WatchState:
    """``there`` if every change of the table is noted, whoever makes it and however."""
    row: Any = connection.execute(
        """
        SELECT count(*) FILTER (WHERE tgenabled = 'A') FROM pg_trigger
        WHERE tgrelid = %s::oid AND NOT tgisinternal AND tgname = ANY(%s) AND tgfoid = (
            SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_class c
                ON c.relname = 'synced_changes' AND c.relnamespace = n.oid
            WHERE proname = %s AND nspname = %s AND prosecdef
              AND has_schema_privilege(proowner, n.oid, 'USAGE') AND has_table_privilege(proowner, c.oid, 'INSERT')
        )
        """,
        [
            source.oid,
            [_trigger_name(records, event) for event in _TRANSITIONS],
            _function_name(source.name),
            records,
        ],
    ).fetchone()
    return "there" if row[0] == len(_TRANSITIONS) else "missing"


def watch(connection: Connection, records: str, source: Source) -> None:
    """Put the triggers on the source's table, in place of those that are there.

    Args:
        connection: in a transaction, which no lock is waited for longer than two seconds: to be tried again.
        records: schema of the notes.
        source: the table.

    Raises:
        ConfigurationError: no trigger would see every change of what the source is made of.
        DatabasePermissionError: the role does not own the table.
    """
    _check_can_be_watched(connection, source)
    condition_columns = _condition_columns(connection, source)
    # It waits for every writer, and new writers behind it: give way rather than block them.
    connection.execute("SET LOCAL lock_timeout = '2s'")
    # Before the function, so that no transaction in progress notes keys as the old one did.
    relation = sql.Identifier(source.definition.schema or "", source.definition.table or "")
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(relation))
    connection.execute(_function_statement(connection, records, source, condition_columns))
    function = sql.Identifier(records, _function_name(source.name))
    connection.execute(sql.SQL("REVOKE ALL ON FUNCTION {}() FROM PUBLIC").format(function))
    for event, transition in _TRANSITIONS.items():
        trigger = sql.Identifier(_trigger_name(records, event))
        connection.execute(
            sql.SQL("CREATE OR REPLACE TRIGGER {} AFTER {} ON {} {} FOR EACH STATEMENT EXECUTE FUNCTION {}()").format(
                trigger, sql.SQL(event), relation, sql.SQL(transition), function
            )
        )
        connection.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(relation, trigger))


def unwatch(connection: Connection, records: str, name: str) -> None:
    """Take the triggers of a source off its table, whether or not it is there.

    Args:
        connection: in a transaction, as for ``watch``.
        records: schema of the notes.
        name: of the source.
    """
    connection.execute("SET LOCAL lock_timeout = '2s'")
    # With the triggers that call it.
    function = sql.Identifier(records, _function_name(name))
    connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}() CASCADE").format(function))


def _check_can_be_watched(connection: Connection, source: Source) -> None:
    name = source.name
    if source.kind != "r":
        kinds = {"": "a query", "p": "partitioned, and what is written to a partition calls no trigger of the whole"}
        raise ConfigurationError(
            f"--watch: {name} is {kinds.get(source.kind, 'no table')}, so triggers would not see every change of it; "
            "without --watch each sync compares"
        )
    if not source.has_unique_key:
        raise ConfigurationError(
            f"--watch: nothing keeps the key of {name} unique and NOT NULL; add a constraint, or go without --watch"
        )
    row: Any = connection.execute(
        """
        SELECT pg_has_role(relowner, 'USAGE'), quote_ident(pg_get_userbyid(relowner)), quote_ident(current_user),
               relispartition OR EXISTS (SELECT FROM pg_inherits WHERE oid IN (inhparent, inhrelid)),
               EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = oid)
        FROM pg_class WHERE oid = %s::oid
        """,
        [source.oid],
    ).fetchone()
    owns, owner, role, inherits, is_replicated = row
    if inherits or is_replicated:
        how = (
            "logical replication" if is_replicated else "another table that it inherits from, or that inherits from it"
        )
        raise ConfigurationError(
            f"--watch: {name} is also written to by way of {how}, which triggers would not see; without --watch each "
            "sync compares"
        )
    if not owns:
        raise DatabasePermissionError(
            f"--watch: only its owner may put a trigger on {name}; run GRANT {owner} TO {role}, or go without --watch, "
            "when each sync compares"
        )


def _condition_columns(connection: Connection, source: Source) -> list[str]:
    """Columns that the source's condition depends on.

    Raises:
        ConfigurationError: it depends on something else too, of which no trigger would hear.
    """
    where = source.definition.where
    if where is None:
        return []
    relation = sql.Identifier(source.definition.schema or "", source.definition.table or "")
    condition = _trusted(f"({where}\n)")
    trial, view = sql.Identifier("embedding_assets_trial"), sql.Identifier("embedding_assets_trial_view")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("CREATE TEMP TABLE {} (LIKE {})").format(trial, relation))
            connection.execute(sql.SQL("CREATE INDEX ON {} ((1)) WHERE {}").format(trial, condition))
            connection.execute(sql.SQL("CREATE TEMP VIEW {} AS SELECT FROM {} WHERE {}").format(view, trial, condition))
            rows = connection.execute(
                """
                SELECT DISTINCT attname FROM pg_rewrite r
                JOIN pg_depend d ON classid = 'pg_rewrite'::regclass AND objid = r.oid
                    AND refclassid = 'pg_class'::regclass AND refobjid = 'embedding_assets_trial'::regclass
                JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                WHERE ev_class = 'embedding_assets_trial_view'::regclass ORDER BY 1
                """
            ).fetchall()
    except (pg.InvalidObjectDefinition, pg.FeatureNotSupported):
        raise ConfigurationError(
            f"--watch: the condition of {source.name} depends on the time, on settings or on other tables, so rows "
            "come and go without a change of theirs; without --watch each sync compares"
        ) from None
    return [name for (name,) in rows]


def _function_statement(
    connection: Connection, records: str, source: Source, condition_columns: list[str]
) -> sql.Composed:
    definition = source.definition
    title = () if definition.title is None else (definition.title,)
    compared = dict.fromkeys([*template_columns(definition.text), *title, *definition.metadata, *condition_columns])
    names = dict.fromkeys([*definition.key, *compared])
    texts = [_text(name) for name in compared]
    keys = [_text(name) for name in definition.key]
    body = sql.SQL(_FUNCTION).format(
        records=sql.Literal(records),
        count=sql.Literal(len(names)),
        names=sql.SQL("{}::name[]").format(sql.Literal(list(names))),
        notes=sql.Identifier(records, "synced_changes"),
        source=sql.SQL("{}::text").format(sql.Literal(source.name)),
        key=sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(keys)),
        digest=sql.SQL("md5(ROW({})::text)").format(sql.SQL(", ").join(texts)),
    )
    return sql.SQL("""
        CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp {} AS {}
    """).format(
        sql.Identifier(records, _function_name(source.name)),
        text_form_clauses(),
        sql.Literal(body.as_string(connection)),
    )


def _text(column: str) -> sql.Composed:
    return sql.SQL('({}::text COLLATE "C")').format(sql.Identifier("k", column))


def _function_name(source: str) -> str:
    return f"embedding_assets_note_{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def _trigger_name(records: str, event: str) -> str:
    """Of its own for each chunk table: several may be fed by one source."""
    return f"embedding_assets_{hashlib.sha256(records.encode()).hexdigest()[:8]}_{event.lower()}"


def _trusted(fragment: str) -> sql.SQL:
    """SQL of the person who configures the source."""
    return sql.SQL(fragment)
