"""Templates in the fields of a component: of variables only the names are kept, until a run needs the values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from dagster import EnvVar, Resolver
from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from dagster import ResolutionContext

_TEMPLATE: Final = re.compile(r"\{\{|\{%|\{#")
_NAMES_VARIABLE: Final = re.compile(r"\{[{%][^}]*\benv\b")
_VARIABLE: Final = re.compile(r"\{\{-?\s*env(?:\.(\w+)|\(\s*(['\"])(\w+)\2\s*\))\s*-?\}\}")


def resolve_late(context: ResolutionContext, value: Any) -> Any:
    """A value in which ``{{ env.X }}`` becomes an ``EnvVar``; other templates are rendered.

    Raises:
        ConfigurationError: a variable is only a part of a value, which could not be read late.
    """
    return _resolve(context, value, _late_text)


def resolve_at_load(context: ResolutionContext, value: Any) -> Any:
    """A value with its templates rendered; text stays text, even if it looks like a number.

    Raises:
        ConfigurationError: a variable is not set, for which Dagster puts null, or ``None`` within a text.
    """
    return _resolve(context, value, _text_now)


def _resolve(context: ResolutionContext, value: Any, resolve: Callable[[ResolutionContext, str], Any]) -> Any:
    if isinstance(value, str):
        return resolve(context, value)
    if isinstance(value, Mapping):
        return {name: _resolve(context.at_path(name), one, resolve) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(context.at_path(number), one, resolve) for number, one in enumerate(value)]
    return value


def _late_text(context: ResolutionContext, text: str) -> Any:
    found = _VARIABLE.fullmatch(text.strip())
    if found:
        return EnvVar(found[1] or found[3])
    if _NAMES_VARIABLE.search(text):
        raise ConfigurationError(
            "beside {{ env.NAME }} there may be nothing else, since it is read when a run needs it; put the whole "
            "value into that variable"
        )
    return context.resolve_value(text) if _TEMPLATE.search(text) else text


def _text_now(context: ResolutionContext, text: str) -> Any:
    if not _TEMPLATE.search(text):
        return text
    missing = sorted({name for found in _VARIABLE.finditer(text) if (name := found[1] or found[3]) not in os.environ})
    if missing:
        raise ConfigurationError(f"{', '.join(missing)}: not set, and read while definitions are loaded; set it")
    rendered = context.resolve_value(text)
    return str(rendered) if isinstance(rendered, int | float) else rendered


def _as_given(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    # Validation would make an ordinary text of it: the variable's name.
    return value if isinstance(value, EnvVar) else handler(value)


LateText = Annotated[str, WrapValidator(_as_given)]
"""A text, or a variable that is read when a run needs it."""


def late(
    kind: Any,
    description: str,
    *,
    examples: list[Any] | None = None,
    name: str | None = None,
    check: Callable[[Any], None] | None = None,
) -> Resolver:
    """How a field is read whose value may be a variable that is read when a run needs it.

    Args:
        kind: what it is in YAML.
        description: for editors, and for lists of fields; pydantic's own does not reach them.
        examples: the same.
        name: in YAML, if it is another one than in Python.
        check: called with the value as it is in YAML; what it raises is shown with file and line.
    """

    def resolve(context: ResolutionContext, value: Any) -> Any:
        # A template for the whole is known to be right only once it is rendered.
        if check is not None and not isinstance(value, str):
            check(value)
        return resolve_late(context, value)

    return Resolver(
        resolve,
        model_field_type=kind,
        model_field_name=name,
        inject_before_resolve=False,
        description=description,
        examples=examples,
    )


def at_load(kind: Any, description: str, *, examples: list[Any] | None = None) -> Resolver:
    """How a field is read that definitions are made from."""
    return Resolver(
        resolve_at_load,
        model_field_type=kind,
        inject_before_resolve=False,
        description=description,
        examples=examples,
    )


def plain(description: str) -> Resolver:
    """How a field is read that has no text."""
    resolver: Resolver = Resolver.default(description=description)
    return resolver
