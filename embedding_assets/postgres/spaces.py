"""Vector spaces, the column that each owns, and the one that serves searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING

from psycopg import sql

from embedding_assets.errors import ConfigurationError, SpaceMismatchError
from embedding_assets.planning import EXACT_SEARCH_ROWS
from embedding_assets.postgres.backlog import count_backlog
from embedding_assets.postgres.catalog import describe, describe_index, ensure_pending_index
from embedding_assets.postgres.columns import (
    add_column,
    claim_problem,
    drop_column,
    index_name,
    restore_column,
    take_first_column,
)
from embedding_assets.postgres.locks import TABLE_LOCK, hold, is_loading
from embedding_assets.postgres.space_mismatch import mismatch, settings_of, too_long
from embedding_assets.postgres.trigger import create_function, watch_removals
from embedding_assets.spaces import IndexType, Similarity, SpaceColumn, VectorSpace, most_dimensions

if TYPE_CHECKING:
    from embedding_assets.postgres.connection import Connection, Database
    from embedding_assets.postgres.table import Table

_ATTRIBUTES = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(VectorSpace))


def list_spaces(database: Database) -> list[SpaceColumn]:
    """All spaces, oldest first."""
    return database.run(_select)


def serving_space(database: Database) -> SpaceColumn | None:
    """The space that searches are asked in; None before anything was embedded."""
    return next((column for column in list_spaces(database) if column.serving), None)


def match_space(columns: Sequence[SpaceColumn], name: str) -> SpaceColumn:
    """The only space whose name or slug is ``name`` or begins so.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    called = [(column, (column.space.name, column.space.slug)) for column in columns if name]
    found = [column for column, names in called if any(full.startswith(name) for full in names)]
    if len(found) == 1:
        return found[0]
    if not columns:
        raise ConfigurationError("there is no space yet; the first run of `embedding-assets embed` makes one")
    problem = f"the names of several spaces begin with {name!r}" if found else f"no space is called {name!r}; there are"
    raise ConfigurationError("\n  ".join([f"{problem}:", *(column.space.name for column in found or columns)]))


def check_registered(database: Database, column: SpaceColumn) -> None:
    """Refuse a space that was dropped, or got another name, since ``column`` was read.

    Raises:
        ConfigurationError: it was.
    """
    if not any((known.space, known.name) == (column.space, column.name) for known in list_spaces(database)):
        raise ConfigurationError(f"space {column.space.name} was dropped or renamed meanwhile; run again")


def serve_space(database: Database, column: SpaceColumn, *, force: bool = False) -> SpaceColumn:
    """Make a space the one that searches are asked in; the one before keeps its column and index.

    Args:
        database: where.
        column: the space.
        force: even if searches would then miss chunks, or take long.

    Raises:
        ConfigurationError: the space is not complete, and ``force`` is off.
    """
    if not force and (faults := _incompleteness(database, column)):
        raise ConfigurationError(
            f"space {column.space.name} is not complete: {' and '.join(faults)}; run `embedding-assets embed` with the "
            f"settings of that space (EMBEDDING_PROVIDER={column.space.provider}), or use --force"
        )
    ensure_pending_index(database, column)
    # A load of this space that is about to drop that index looks under the lock whether the space serves by now.
    with database.session() as session, hold(session, TABLE_LOCK):
        database.run(lambda connection: _serve(connection, column))
    column = replace(column, serving=True)
    ensure_pending_index(database, column)
    return column


def register_space(
    database: Database,
    space: VectorSpace,
    *,
    new_space: bool = False,
    new_provider: bool = False,
    claim_vectors: bool = False,
    similarity: Similarity = "cosine",
    index_type: IndexType | None = None,
    before: Callable[[], None] = lambda: None,
    look_only: bool = False,
) -> SpaceColumn:
    """The column of ``space``, registered if it is new: ``embedding`` for a table's first space, else one of its own.

    Args:
        space: what the settings describe.
        new_space: allow a further space; without it a mismatch is an error, so that a typing error in a model's name
            does not start to embed the whole table again.
        new_provider: allow a further space if the table has none of its provider, or for an API just one that was never
            written to: that its model exists shows with the first answer, and a typing error must not stay.
        claim_vectors: take vectors that an adopted table already holds for ones of this space.
        similarity: what a new space ranks by.
        index_type: the configured type of indexes, of which one must be able to have the dimensions of a new space.
        before: called before a space is registered that is allowed; what it raises prevents that.
        look_only: change nothing; a space that would be registered has a column without a name.

    Raises:
        SpaceMismatchError: the table is embedded in another space, and a further one is not allowed.
        ConfigurationError: column ``embedding`` holds vectors of unknown origin or another length, or an index cannot
            have so many dimensions.
    """
    unused = _find_unused(database, space) if new_provider and not new_space else None

    def find(connection: Connection) -> SpaceColumn | None:
        known = _select(connection)
        found = next((column for column in known if column.space == space), None)
        others = [column for column in known if column != unused]
        allowed = new_space or (new_provider and all(other.space.provider != space.provider for other in others))
        if found is None and others and not allowed:
            raise SpaceMismatchError(mismatch(space, others))
        return found

    def register(connection: Connection) -> SpaceColumn:
        found = find(connection)
        if found is not None:
            return found
        # Asked again under the lock: a run may have begun since, whose vectors are paid for.
        free = unused if unused is not None and not is_loading(database, unused.space.name) else None
        return _register(
            connection,
            database.table,
            space,
            similarity,
            new_space=new_space,
            claim_vectors=claim_vectors,
            unused=free,
        )

    column = database.run(find)
    if column is None:
        if space.dimensions > most_dimensions(index_type):
            raise ConfigurationError(too_long(space, index_type))
        before()
        if look_only:
            return SpaceColumn(space, "", "", serving=False, similarity=similarity)
        with database.session() as session, hold(session, TABLE_LOCK):
            column = database.run(register)
    if look_only:
        return column
    if not pending_index_waits(database, column) or describe_index(database, column.index).exists:
        ensure_pending_index(database, column)
    return column


def check_claim(database: Database, space: VectorSpace) -> None:
    """Refuse to take the vectors of the table's first column for ones of ``space`` where that cannot be.

    Raises:
        ConfigurationError: the column cannot be that of the space.
    """
    problem = database.run(lambda connection: claim_problem(connection, database.table, space, settings_of(space)))
    if problem:
        raise ConfigurationError(problem)


def settle_columns(database: Database) -> None:
    """Give each space the column and the index that a swap of the table for another has taken from it.

    The column is added, empty, where it is missing; of indexes one that is there takes the place of one that is not.
    """

    def work(connection: Connection) -> None:
        table = database.table
        connection.execute("SET LOCAL lock_timeout = '2s'")
        for column in _select(connection):
            restore_column(connection, table, column.name, column.storage, column.space.dimensions)
            if not describe(connection, table, column.index).exists:
                name = index_name(connection, table, column)
                connection.execute(
                    "UPDATE embedding_spaces SET index_name = %s WHERE name = %s", [name, column.space.name]
                )

    database.run(work)


def adjust_space(
    database: Database, column: SpaceColumn, *, query_prompt: str | None, similarity: Similarity | None
) -> SpaceColumn:
    """Change how questions are asked in a space from now on; None: as it is.

    Its vectors stay. Where it ranks by something else, its index is rebuilt the next time that it is maintained.
    """
    adjusted = replace(
        column,
        query_prompt=column.query_prompt if query_prompt is None else query_prompt,
        similarity=similarity or column.similarity,
    )
    if adjusted != column:
        query = "UPDATE embedding_spaces SET query_prompt = %s, similarity = %s WHERE name = %s"
        values = [adjusted.query_prompt, adjusted.similarity, column.space.name]
        database.run(lambda connection: connection.execute(query, values))
    return adjusted


def pending_index_waits(database: Database, column: SpaceColumn) -> bool:
    """True if a space's partial index of pending chunks is left to its first load's end, as its vector index is.

    Where an index names a vector column, PostgreSQL enters every row whose vector is written into all indexes of the
    table again: into the vector indexes of other spaces too, which is as slow as filling those. Without, the row's new
    version stays in its page and no index notices (a heap-only tuple). Until then the backlog is most of the table, and
    the unique index of the hashes finds it, if that has their byte order. A table of the user's has none of
    the hashes. The serving space always has its partial index: the sensor probes it, and its first load meets no other
    vector index.
    """
    if column.serving or not database.table.is_own:
        return False
    query = """
        SELECT attcollation = '"C"'::regcollation FROM pg_attribute WHERE attrelid = %s::oid AND attname = 'chunk_hash'
    """
    return database.run(lambda connection: connection.execute(query, [database.table.oid]).fetchone()) == (True,)


def _select(connection: Connection) -> list[SpaceColumn]:
    rows = connection.execute(
        sql.SQL(
            "SELECT {}, column_name, index_name, serving, query_prompt, similarity, storage "
            "FROM embedding_spaces ORDER BY created_at, name"
        ).format(_ATTRIBUTES)
    ).fetchall()
    return [SpaceColumn(VectorSpace(*row[:-6]), *row[-6:]) for row in rows]


def _incompleteness(database: Database, column: SpaceColumn) -> list[str]:
    """Reasons why searches in a space would miss chunks, or take long."""
    backlog = count_backlog(database, column)
    faults = []
    if backlog.pending:
        faults.append(f"{backlog.pending:,} of {backlog.chunks:,} chunks are not embedded in it")
    if backlog.embedded > EXACT_SEARCH_ROWS and not describe_index(database, column.index).valid:
        faults.append(f"its index {column.index} is not built")
    return faults


def _serve(connection: Connection, column: SpaceColumn) -> None:
    # One after the other: no moment may have two that serve.
    connection.execute("UPDATE embedding_spaces SET serving = false WHERE serving")
    connection.execute("UPDATE embedding_spaces SET serving = true WHERE name = %s", [column.space.name])


def _find_unused(database: Database, space: VectorSpace) -> SpaceColumn | None:
    """The only space of the same API, if it is another one, holds no vector, and no run is about to change that."""
    own = [column for column in list_spaces(database) if column.space.provider == space.provider == "openai"]
    if len(own) != 1 or own[0].space == space or is_loading(database, own[0].space.name):
        return None
    return own[0] if database.run(lambda connection: _is_empty(connection, database.table, own[0])) else None


def _is_empty(connection: Connection, table: Table, column: SpaceColumn) -> bool:
    return not _has_vectors(connection, table, column.name)


def _has_vectors(connection: Connection, table: Table, name: str) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE {} IS NOT NULL LIMIT 1").format(table.relation, sql.Identifier(name))
    return connection.execute(query, []).fetchone() is not None


def _register(
    connection: Connection,
    table: Table,
    space: VectorSpace,
    similarity: Similarity,
    *,
    new_space: bool,
    claim_vectors: bool,
    unused: SpaceColumn | None,
) -> SpaceColumn:
    """Called under the table's lock, so that two first runs agree on one space. ``unused`` gives way to this one."""
    # Changing columns waits for every reader, and new readers behind it: give way and try again rather than block them.
    connection.execute("SET LOCAL lock_timeout = '2s'")
    known = _select(connection)
    if unused not in known:
        unused = None
    # A run that is about to write must not find its column gone with what it has paid for; and a statement of somebody
    # else's that is editing texts now knows the trigger's function as it was, which leaves the new column alone.
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table.relation), [])
    if unused is not None:
        if not _is_empty(connection, table, unused):
            raise SpaceMismatchError(mismatch(space, known))
        connection.execute("DELETE FROM embedding_spaces WHERE name = %s", [unused.space.name])
        known.remove(unused)
    taken = [column.name for column in known]
    place = None
    if table.vectors not in taken:
        place = take_first_column(
            connection,
            table,
            space,
            similarity,
            setting_of=settings_of(space),
            claim=claim_vectors,
            may_leave=new_space,
        )
    if place is not None:
        serving = all(not column.serving for column in known)
    else:
        serving = unused.serving if unused is not None else not known
        place = add_column(
            connection, table, space, similarity, {*taken, *(unused.name for unused in [unused] if unused)}
        )
    column = SpaceColumn(space, place.name, place.index, serving, None, similarity, place.storage)
    if unused is not None and unused.name != column.name:
        drop_column(connection, table, unused.name)
    if table.is_own:
        watch_removals(connection, column.name)
    create_function(
        connection,
        table,
        {table.vectors: None, **dict.fromkeys([*taken, column.name])} if table.is_own else [*taken, column.name],
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO embedding_spaces (name, {}, column_name, index_name, serving, similarity, storage) VALUES ({})"
        ).format(_ATTRIBUTES, sql.SQL(", ").join(sql.Placeholder() * (len(fields(VectorSpace)) + 6))),
        [space.name, *astuple(space), column.name, column.index, column.serving, column.similarity, column.storage],
    )
    return column
