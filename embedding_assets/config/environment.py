"""The base of all groups of settings, and what is wrong with a variable as words."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

_PERHAPS_SECRET = ("_URL", "_COMMAND", "_KEY", "_HEADERS", "_PARAMETERS", "_BODY", "_BODY_DOCUMENT", "_BODY_QUERY")


class EnvironmentSettings(BaseSettings):
    """A group of settings, each of which is a variable."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, protected_namespaces=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is passed, and the environment: files, of which there are none, would be as long to read from again."""
        return init_settings, env_settings

    @classmethod
    def variable(cls, name: str) -> str:
        """The variable that sets the field ``name``."""
        alias = cls.model_fields[name].validation_alias
        if isinstance(alias, AliasChoices) and isinstance(alias.choices[0], str):
            return alias.choices[0]
        return f"{cls.model_config.get('env_prefix', '')}{name}".upper()


def describe_validation_error(error: ValidationError, prefix: str) -> list[str]:
    """One line for each invalid variable: its name, what it accepts, and what it got unless that may be secret."""
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        if not item["loc"]:
            lines.append(item["msg"].removeprefix("Value error, "))
            continue
        name = str(item["loc"][0]).upper()
        variable = name if "OPENAI_" in name else prefix + name  # a field with names of its own is called by those
        got = "" if variable.endswith(_PERHAPS_SECRET) else f" (got {str(item['input'])[:80]!r})"
        lines.append(f"{variable}: {item['msg'].removeprefix('Value error, ')}{got}")
    return lines


def describe_malformed_json(error: SettingsError, group: type[EnvironmentSettings]) -> str:
    """The variable that is not JSON, without its value, which may be secret."""
    # The error names the field in its text alone.
    named = re.search(r'field "(\w+)"', str(error))
    field = named[1] if named else ""
    variable = group.variable(field) if field in group.model_fields else "a variable"
    return f'{variable}: is not JSON such as {{"name": "value"}}; check its quotes and braces'


def is_web_address(url: str) -> bool:
    """True for http(s) without user and password. What is not must not be repeated in an error: it may hold a key."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return fits and "@" not in parts.netloc
