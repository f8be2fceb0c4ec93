"""Parameters of a clause, each with a name of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql


class Parameters:
    """Values by name, with the placeholders for them.

    Args:
        name: with which all names begin.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.values: dict[str, Any] = {}

    def add(self, value: object) -> sql.Placeholder:
        """The placeholder of a value that is added."""
        name = f"{self._name}_{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)

    def add_all(self, values: Iterable[object]) -> sql.Placeholder:
        """The placeholder of an array of values: a statement has 65,535 parameters at most, and no time for many."""
        return self.add(list(values))
