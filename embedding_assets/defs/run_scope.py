"""What the functions of all assets and checks are wrapped in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, TypeVar

from embedding_assets.defs.failures import explained
from embedding_assets.defs.run_log import logged_to
from embedding_assets.defs.run_status import RunStatus
from embedding_assets.postgres.interruption import stopped_by

F = TypeVar("F", bound=Callable[..., Any])


def in_run(set_here: Callable[[Any], Mapping[str, str]]) -> Callable[[F], F]:
    """Decorator of what Dagster calls with a context: its log lines go to the run, its errors are explained there.

    It ends when Dagster calls its run over.

    Args:
        set_here: of a context, variable → what sets it instead of the environment.
    """

    def decorate(function: F) -> F:
        if isgeneratorfunction(function):

            @wraps(function)
            def yielding(context: Any) -> Iterator[Any]:
                # All at once: between two results the caller's context would be this one.
                results: list[Any] = []
                failure: BaseException | None = None
                try:
                    with logged_to(context), explained(set_here(context)), stopped_by(RunStatus(context)):
                        results.extend(function(context))
                except BaseException as error:  # noqa: BLE001 (raised below)
                    failure = error
                # What came before it holds nevertheless.
                yield from results
                if failure is not None:
                    raise failure

            return yielding  # type: ignore[return-value]

        @wraps(function)
        def returning(context: Any) -> Any:
            with logged_to(context), explained(set_here(context)), stopped_by(RunStatus(context)):
                return function(context)

        return returning  # type: ignore[return-value]

    return decorate
