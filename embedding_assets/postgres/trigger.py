"""The trigger that takes away the vectors of a text that was edited, in whatever way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

from psycopg import sql

from embedding_assets.postgres.lookup import TRIGGER
from embedding_assets.postgres.table import Table

if TYPE_CHECKING:
    import psycopg

FUNCTION: Final = "embedding_assets_text_changed"

TriggerState = Literal["there", "missing", "disabled"]


def trigger_state(connection: psycopg.Connection[Any], table: Table) -> TriggerState:
    """Whether the trigger is on the table, and called for every way to write to it."""
    row = connection.execute(
        """
        SELECT bool_and(CASE WHEN r.oid = root.oid THEN tgenabled = 'A' ELSE tgenabled IN ('A', 'O') END)
        FROM (SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::oid AS oid) AS root
        CROSS JOIN LATERAL (SELECT root.oid UNION SELECT relid FROM pg_partition_tree(root.oid)) AS r (oid)
        LEFT JOIN pg_trigger ON tgrelid = r.oid AND tgname = %s
            AND tgfoid = to_regproc(format('%%I.%%I', %s::text, %s::text))
        HAVING bool_and(tgname IS NOT NULL)
        """,
        [table.schema, table.name, TRIGGER, table.records, FUNCTION],
    ).fetchone()
    return "missing" if row is None else "there" if row[0] else "disabled"


def create_function(connection: psycopg.Connection[Any], table: Table, columns: Iterable[str]) -> None:
    """Let the trigger take away the vectors of these columns from now on.

    A vector that the same statement brings with its text stays: it is of the new one.
    """
    connection.execute(function_statement(table, columns), [])


def create_trigger(connection: psycopg.Connection[Any], table: Table) -> None:
    """Put the trigger on the table, replacing the one that is there; the function must exist."""
    for statement in trigger_statements(connection, table):
        connection.execute(statement, [])


def drop_trigger(connection: psycopg.Connection[Any], table: Table) -> None:
    """Take the trigger off the table, and drop its function."""
    # After a swap the retired table has it, too.
    for schema, name in watched_tables(connection, table):
        connection.execute(
            sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(TRIGGER), sql.Identifier(schema, name))
        )
    connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}()").format(sql.Identifier(table.records, FUNCTION)), [])


def watch_removals(connection: psycopg.Connection[Any], column: str) -> None:
    """Let a chunk whose vector is taken away count as pending from then on, unless that statement says since when.

    In ``knowledge_base`` alone, which has a column for that. The condition is one of the trigger, so nothing is called
    where a vector is written.
    """
    connection.execute(
        sql.SQL("""
            CREATE OR REPLACE TRIGGER {trigger} BEFORE UPDATE OF {column} ON knowledge_base FOR EACH ROW
            WHEN (
                OLD.{column} IS NOT NULL AND NEW.{column} IS NULL
                AND OLD.pending_since IS NOT DISTINCT FROM NEW.pending_since
            )
            EXECUTE FUNCTION knowledge_base_vector_removed()
        """).format(trigger=sql.Identifier(f"{column}_removed"), column=sql.Identifier(column))
    )


def unwatch_removals(connection: psycopg.Connection[Any], table: Table, column: str) -> None:
    """PostgreSQL neither drops nor changes a column that a trigger names."""
    connection.execute(
        sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(sql.Identifier(f"{column}_removed"), table.relation), []
    )


def watched_tables(connection: psycopg.Connection[Any], table: Table) -> list[tuple[str, str]]:
    """Schema and name of the tables that have the trigger, whatever they are called by now."""
    return connection.execute(
        """
        SELECT nspname, relname FROM pg_trigger
        JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace
        WHERE tgfoid = to_regproc(format('%%I.%%I', %s::text, %s::text)) AND NOT relispartition
        """,
        [table.records, FUNCTION],
    ).fetchall()


def function_statement(table: Table, columns: Iterable[str]) -> sql.Composed:
    """CREATE FUNCTION of the trigger.

    It runs as the role that edits a row, which needs no right on anything of ours: vectors are compared byte by byte,
    without pgvector's operators.
    """
    lines: list[sql.Composable] = [
        sql.SQL(
            "    BEGIN\n"
            "        IF ROW(NEW.{0})::record *= ROW(OLD.{0})::record THEN NEW.{0} := NULL; END IF;\n"
            "    EXCEPTION WHEN undefined_column THEN NULL; -- renamed or dropped: no edit fails for that\n"
            "    END;"
        ).format(_name(column))
        for column in dict.fromkeys(columns)
    ]
    if table.is_own:
        lines.append(sql.SQL("    NEW.text_version := OLD.text_version + 1; NEW.pending_since := now();"))
    return sql.SQL("""CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
{}
    RETURN NEW;
END
$$""").format(
        sql.Identifier(table.records, FUNCTION),
        sql.SQL("\n").join(lines),
    )


def trigger_statements(connection: psycopg.Connection[Any], table: Table) -> list[sql.Composed]:
    """CREATE TRIGGER, and that it is called for replicated and restored rows too.

    Without a list of columns, which would leave out what another trigger changes.
    """
    compared = [
        sql.SQL('(OLD.{0}::text COLLATE "C") IS DISTINCT FROM (NEW.{0}::text COLLATE "C")').format(_name(column))
        for column in text_columns(connection, table)
    ]
    return [
        sql.SQL("CREATE OR REPLACE TRIGGER {} BEFORE UPDATE ON {} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {}()").format(
            sql.Identifier(TRIGGER),
            table.relation,
            sql.SQL(" OR ").join(compared),
            sql.Identifier(table.records, FUNCTION),
        ),
        sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(table.relation, sql.Identifier(TRIGGER)),
    ]


def text_columns(connection: psycopg.Connection[Any], table: Table) -> list[str]:
    """Columns that the text is made of; in place of a generated one those that it is computed from.

    PostgreSQL computes generated columns after it has called the trigger.
    """
    rows = connection.execute(
        """
        SELECT DISTINCT base.attname FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON a.attgenerated <> '' AND d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refobjid = a.attrelid
            AND p.refclassid = 'pg_class'::regclass AND p.refobjsubid <> a.attnum
        JOIN pg_attribute base ON base.attrelid = a.attrelid AND base.attnum = coalesce(p.refobjsubid, a.attnum)
        WHERE a.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND a.attname = ANY(%s)
          AND base.attnum > 0 AND base.attgenerated = '' ORDER BY 1
        """,
        [table.schema, table.name, sorted(table.names)],
    ).fetchall()
    return [name for (name,) in rows]


def _name(column: str) -> sql.Identifier:
    return sql.Identifier(column.replace("%", "%%"))
