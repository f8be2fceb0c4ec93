"""Vectors in a column of a table of this database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from embedding_assets.errors import ConfigurationError
from embedding_assets.importing.in_place import import_in_place
from embedding_assets.importing.keyed import import_keyed, key_columns
from embedding_assets.postgres.foreign.relation import find_column, read_column, split_column

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.report import ImportReport
    from embedding_assets.postgres.connection import Database


def choose_column(database: Database, name: str, column: str | None) -> tuple[str, str]:
    """The table as in SQL, and its column, that ``name`` and ``column`` mean together.

    Raises:
        ConfigurationError: they name two columns, or none.
    """
    with database.session() as connection:
        relation, named = split_column(connection, name)
    if column not in (None, named):
        raise ConfigurationError(f"{name} and --column {column} are two columns; name one")
    return relation, named


def import_column(
    settings: Settings,
    database: Database,
    column: str | None,
    options: ImportOptions,
    *,
    other: str | None = None,
    key: Sequence[str] = (),
) -> ImportReport:
    """Take over the vectors of the table's own column, or of one of another table.

    Args:
        settings: which model.
        database: the table's.
        column: its name; None: the one that the table was adopted with.
        options: of any import.
        other: the other table, as in SQL.
        key: that table's columns with the key, in the order of ours; by default the same names.

    Raises:
        ImportRefusedError: the vectors are not those of the settings' model.
        ConfigurationError: a table or column is not what it should be.
    """
    table = database.table
    if other is None:
        if key:
            raise ConfigurationError("--key is of another table, which --from names")
        if column not in (None, table.vectors):
            raise ConfigurationError(
                f"the vectors of {table} are in column {table.vectors}; run `embedding-assets adopt --undo {table}`, "
                f"then `embedding-assets adopt {table} --column {column}`, to take those of {column}"
            )
        return import_in_place(settings, database, options)
    if column is None:
        raise ConfigurationError("--column: say which column of the other table has the vectors")
    with database.session() as connection:
        found = find_column(connection, other, key_columns(table, key), column)
    what = f"column {column} of {other}"
    return import_keyed(settings, database, partial(read_column, found=found), what, options)
