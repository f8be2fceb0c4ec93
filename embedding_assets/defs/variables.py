"""Values that are to come from a variable, read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from dagster import EnvVar

from embedding_assets.errors import ConfigurationError

_IntEnvVar: Final = type(EnvVar.int("_"))


def variable_of(value: object) -> str | None:
    """The variable that a value is to come from."""
    if isinstance(value, EnvVar):
        return value.env_var_name
    return str(value.name) if isinstance(value, _IntEnvVar) else None


def is_of_environment(name: str, value: object) -> bool:
    """Whether a setting is left to the environment, or said to be what that has.

    Args:
        name: of the setting's variable.
        value: what is said of it; None if nothing is.
    """
    return value is None or variable_of(value) == name or value == os.environ.get(name)


def is_late(value: object) -> bool:
    """Whether a value is to come from a variable, or one in its list or mapping is."""
    if isinstance(value, Mapping):
        return any(map(is_late, value.values()))
    if isinstance(value, list | tuple):
        return any(map(is_late, value))
    return variable_of(value) is not None


def read(name: str, value: object) -> object:
    """The value itself, or what its variable holds now.

    Args:
        name: of what it is for, as errors call it.
        value: or an ``EnvVar``, or a list or mapping that has some.

    Raises:
        ConfigurationError: the variable is not set.
    """
    if isinstance(value, Mapping):
        return {key: read(name, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [read(name, one) for one in value]
    variable = variable_of(value)
    if variable is None:
        return value
    if variable not in os.environ:
        raise ConfigurationError(f"{name} is to come from {variable}, which is not set; set it")
    return os.environ[variable]
