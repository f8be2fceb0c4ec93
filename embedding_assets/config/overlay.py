"""Settings of one table among several in a process: those of the environment, with some of its own instead."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from embedding_assets.config import Settings, get_settings
from embedding_assets.config.environment import EnvironmentSettings, describe_validation_error
from embedding_assets.errors import ConfigurationError

_OF_THE_PROCESS: Final = ("data_dir", "logging", "serve")
"""Groups that two tables in one process share."""


def settings_with(values: Mapping[str, object]) -> Settings:
    """The settings of the environment, but for ``values``, which count as explicitly set.

    Args:
        values: variable, as documented, e.g. ``EMBEDDING_TABLE`` → its value, as text or of its type.

    Raises:
        ConfigurationError: a variable of the environment is malformed, or one of ``values`` is not a setting of a
            table or not acceptable; secrets are not shown.
    """
    settings = get_settings()
    changes: dict[str, dict[str, object]] = defaultdict(dict)
    for variable, value in values.items():
        group, field = _place(variable)
        changes[group][field] = value
    problems: list[str] = []
    groups: dict[str, Any] = {}
    for group, fields in changes.items():
        current: EnvironmentSettings = getattr(settings, group)
        try:
            groups[group] = type(current)(**{**current.model_dump(exclude_unset=True), **fields})
        except ValidationError as error:
            problems += describe_validation_error(error, str(current.model_config["env_prefix"]))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings.model_copy(update=groups)


def check_variables(variables: Mapping[str, object]) -> None:
    """Check the names alone, where values are not known yet.

    Raises:
        ConfigurationError: one is not a setting of a table.
    """
    for variable in variables:
        _place(variable)


def _place(variable: str) -> tuple[str, str]:
    """Group and field that a variable sets."""
    places = _places()
    if variable in places:
        return places[variable]
    if variable in _variables_of_the_process():
        raise ConfigurationError(f"{variable} holds for the whole process; set it in the environment")
    nearest = difflib.get_close_matches(variable, places, n=1)
    raise ConfigurationError(f"{variable} is not a setting" + (f"; did you mean {nearest[0]}?" if nearest else ""))


def _places() -> dict[str, tuple[str, str]]:
    return {
        config.variable(field): (group, field)
        for group, config in _groups()
        if group not in _OF_THE_PROCESS
        for field in config.model_fields
    }


def _variables_of_the_process() -> set[str]:
    own = {config.variable(field) for group, config in _groups() if group in _OF_THE_PROCESS
           for field in config.model_fields}  # fmt: skip
    return {"EMBEDDING_DATA_DIR"} | own


def _groups() -> list[tuple[str, type[EnvironmentSettings]]]:
    found = []
    for name, field in Settings.model_fields.items():
        config = field.annotation
        if isinstance(config, type) and issubclass(config, EnvironmentSettings):
            found.append((name, config))
    return found
