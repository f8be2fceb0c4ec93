"""Components of rows in one project that would replace each other's: of one name, in one database."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from embedding_assets.defs.variables import variable_of
from embedding_assets.errors import ConfigurationError
from embedding_assets.identifiers import parts_of

if TYPE_CHECKING:
    import dagster as dg

    from embedding_assets.defs.row_source import RowSource

_Place = tuple[Hashable, ...]
"""Database and name of rows."""

_URL: Final = "EMBEDDING_DATABASE_URL"

_built: WeakKeyDictionary[Any, dict[Hashable, dict[_Place, tuple[str, RowSource]]]] = WeakKeyDictionary()
"""Tree of components → component → where its rows go, whose they are, and what they are.

Of a component its place in the tree, so that one that is built again replaces itself.
"""


def check_names(context: dg.ComponentLoadContext, prefix: str, database_url: object, sources: list[RowSource]) -> None:
    """Make sure that no component built before brings other rows by the same name into the same database.

    Two that say the same may share the rows: as for two models side by side.

    Raises:
        ConfigurationError: one does.
    """
    own = {(_of(database_url), *_name_of(source)): (prefix, source) for source in sources}
    project = _built.setdefault(context.component_tree.state_tracker, {})
    project[context.component_loc] = own
    for place, (other, rows) in ((place, one) for built in project.values() for place, one in built.items()):
        if place in own and own[place][1].contents != rows.contents:
            name = rows.name or rows.table
            raise ConfigurationError(
                f"the components with key_prefix {_shown(other)} and {_shown(prefix)} both call rows {name} in one "
                f"database, so that each would remove what the other one has brought; {_rename(rows)}"
            )


def _of(database_url: object) -> Hashable:
    """A database, by its address or the variable that it is in."""
    variable = variable_of(database_url)
    return (variable or _URL, True) if variable or database_url is None else (str(database_url), False)


def _name_of(source: RowSource) -> _Place:
    given: Any = source.name if source.table is None else source.table
    variable = variable_of(given)
    if variable is not None:
        return (source.table is None, variable, True)
    return (source.table is None, given if source.table is None else tuple(parts_of(str(given))), False)


def _shown(prefix: str) -> str:
    return prefix or "''"


def _rename(rows: RowSource) -> str:
    return "make one of them a query with a name" if rows.query is None else "give one of the queries another name"
