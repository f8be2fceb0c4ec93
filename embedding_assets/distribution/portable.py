"""Settings on their way to another machine, without what is secret."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from pydantic import SecretStr

from embedding_assets.config import Group, Settings, get_settings
from embedding_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embedding_assets.config.environment import EnvironmentSettings

_GROUPS: Final[tuple[Group, ...]] = get_args(Group)

_OF_NODES: Final = {("database", "password_file")}
"""Not secret, but the place of something secret on the machine that reads it."""


@dataclass(frozen=True, slots=True)
class PortableSettings:
    """Settings that may be seen by all of a cluster.

    Attributes:
        values: group → field → value, of what is set explicitly and is not secret.
        own: variables, secret or of a machine, that are set here and that every machine has to set for itself.
        data_dir: for machines that set none.
    """

    values: dict[Group, dict[str, Any]]
    own: tuple[str, ...]
    data_dir: Path

    @classmethod
    def of(cls, settings: Settings) -> PortableSettings:
        """What of ``settings`` may travel."""
        own, values = [], {}
        for group in _GROUPS:
            config: EnvironmentSettings = getattr(settings, group)
            fields = {name: getattr(config, name) for name in config.model_fields_set}
            fields = {name: value for name, value in fields.items() if value is not None}
            kept = {name for name in fields if _stays(group, config, name)}
            own += [config.variable(name) for name in kept]
            values[group] = {name: value for name, value in fields.items() if name not in kept}
        return cls({group: fields for group, fields in values.items() if fields}, tuple(sorted(own)), settings.data_dir)

    def restore(self) -> Settings:
        """The settings on this machine: what travelled, with what is this machine's own to set; no other of its.

        Raises:
            ConfigurationError: this machine lacks a variable that it has to set for itself.
        """
        settings = get_settings()
        if lacking := [name for name in self.own if name not in set(_own_variables(settings))]:
            raise ConfigurationError(
                f"node {platform.node()} lacks {' and '.join(lacking)}, which the run has; secrets are not sent to "
                "workers, so set this in the environment of `ray start` on every node"
            )
        groups: dict[str, Any] = {}
        for group in _GROUPS:
            here: EnvironmentSettings = getattr(settings, group)
            values = {name: getattr(here, name) for name in here.model_fields_set if _stays(group, here, name)}
            values |= self.values.get(group, {})
            # Without this machine's variables, by which another worker would embed otherwise; validated by the driver.
            groups[group] = type(here).model_construct(_fields_set=set(values), **values)
        if "EMBEDDING_DATA_DIR" not in os.environ:
            groups |= {"data_dir": self.data_dir}
        return settings.model_copy(update=groups)


def _own_variables(settings: Settings) -> Iterator[str]:
    for group in _GROUPS:
        config = cast("EnvironmentSettings", getattr(settings, group))
        for name in config.model_fields_set:
            if getattr(config, name) is not None:
                yield config.variable(name)


def _stays(group: Group, config: EnvironmentSettings, name: str) -> bool:
    """Whether each machine sets this itself."""
    return (group, name) in _OF_NODES or _is_secret(getattr(config, name))


def _is_secret(value: object) -> bool:
    if isinstance(value, dict):
        return any(_is_secret(item) for item in value.values())
    return isinstance(value, SecretStr)
