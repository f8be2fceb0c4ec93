"""What the functions of all assets and checks are wrapped in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any, TypeVar

from embedding_assets.defs.failures import explained
from embedding_assets.defs.run_log import logged_to

if TYPE_CHECKING:
    from embedding_assets.defs.table_spec import TableSpec

F = TypeVar("F", bound=Callable[..., Any])


def in_run(spec: TableSpec) -> Callable[[F], F]:
    """Decorator of what Dagster calls with a context: its log lines go to the run, its errors are explained there."""

    def decorate(function: F) -> F:
        if isgeneratorfunction(function):

            @wraps(function)
            def yielding(context: Any) -> Iterator[Any]:
                # All at once: between two results the caller's context would be this one.
                with logged_to(context), explained(spec.set_here(context)):
                    results = list(function(context))
                yield from results

            return yielding  # type: ignore[return-value]

        @wraps(function)
        def returning(context: Any) -> Any:
            with logged_to(context), explained(spec.set_here(context)):
                return function(context)

        return returning  # type: ignore[return-value]

    return decorate
