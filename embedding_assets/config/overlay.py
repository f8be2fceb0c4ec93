"""Settings of one table among several in a process: those of the environment, with some of its own instead."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, get_origin

from pydantic import ValidationError

from embedding_assets.config import Settings, get_settings
from embedding_assets.config.environment import EnvironmentSettings, describe_validation_error
from embedding_assets.errors import ConfigurationError

_OF_THE_PROCESS: Final = ("data_dir", "logging", "serve")
"""Groups that two tables in one process share."""

_GO_TOGETHER: Final = {
    "EMBEDDING_TABLE": ("key", "text", "metadata", "where", "column", "records"),
    "EMBEDDING_DATABASE_URL": ("password_command", "password_file"),
    "EMBEDDING_MODEL_NAME": (
        "model_revision", "dimensions", "document_prompt", "query_prompt", "similarity", "max_seq_length",
    ),
    "EMBEDDING_OPENAI_MODEL": ("dimensions", "send_dimensions", "max_input_tokens", "usd_per_million_tokens"),
}  # fmt: skip
"""Variable → fields of its group that say more of the same thing: those of the environment are of another one then."""


def settings_with(values: Mapping[str, object]) -> Settings:
    """The settings of the environment, but for ``values``, which count as explicitly set.

    Args:
        values: variable, as documented, e.g. ``EMBEDDING_TABLE`` → its value, as text or of its type. With a table,
            database or model of their own go none of the environment's key, password or prompts, which are another's.

    Raises:
        ConfigurationError: a variable of the environment is malformed, or one of ``values`` is not a setting of a
            table or not acceptable; secrets are not shown.
    """
    settings = get_settings()
    changes: dict[str, dict[str, object]] = defaultdict(dict)
    for variable, value in values.items():
        group, field = _place(variable)
        changes[group][field] = _read(variable, value, getattr(settings, group), field)
    unset: dict[str, set[str]] = defaultdict(set)
    for variable in _GO_TOGETHER.keys() & values.keys():
        group, _ = _place(variable)
        unset[group] |= set(_GO_TOGETHER[variable]) - changes[group].keys()
    problems: list[str] = []
    groups: dict[str, Any] = {}
    for group, fields in changes.items():
        current: EnvironmentSettings = getattr(settings, group)
        try:
            groups[group] = _changed(current, fields, unset[group])
        except ValidationError as error:
            problems += describe_validation_error(error, str(current.model_config["env_prefix"]))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return settings.model_copy(update=groups)


def _changed(current: EnvironmentSettings, fields: Mapping[str, object], unset: set[str]) -> EnvironmentSettings:
    """A group with other fields, and some as if they had not been set."""
    config = type(current)
    # The defaults are named, since what is not named is read from the environment.
    defaults = {name: config.model_fields[name].get_default(call_default_factory=True) for name in unset}
    made = config(**{**current.model_dump(exclude_unset=True), **defaults, **fields})
    made.model_fields_set.difference_update(unset)
    return made


def _read(variable: str, value: object, current: EnvironmentSettings, field: str) -> object:
    """A value of the field's type if it is JSON, as variables hold it."""
    if not isinstance(value, str) or get_origin(type(current).model_fields[field].annotation) is not dict:
        return value
    try:
        return json.loads(value)
    except ValueError:  # whose message would quote it
        raise ConfigurationError(
            f'{variable}: is not JSON such as {{"name": "value"}}; check its quotes and braces'
        ) from None


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
    # By what follows the prefix: with it, all names would be alike.
    endings = {name.removeprefix("EMBEDDING_"): name for name in places}
    nearest = difflib.get_close_matches(variable.removeprefix("EMBEDDING_"), endings, n=1)
    hint = f"; did you mean {endings[nearest[0]]}?" if nearest else ""
    raise ConfigurationError(f"{variable} is not a setting{hint}")


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
