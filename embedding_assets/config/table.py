"""Settings of a table that is embedded in place."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings
from embedding_assets.identifiers import unquoted


def _split(value: Any) -> Any:
    """Names between commas; a name that has one itself is quoted as in SQL."""
    if not isinstance(value, str):
        return value
    names, quoted, current = [], False, ""
    for character in value:
        if character == '"':
            quoted = not quoted
        if character == "," and not quoted:
            names.append(current)
            current = ""
        else:
            current += character
    return tuple(unquoted(name.strip()) for name in [*names, current] if name.strip())


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class TableConfig(EnvironmentSettings):
    """A table of yours, as it is: which of its columns are key, text and metadata."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_TABLE_", populate_by_name=True)

    relation: str | None = Field(
        None,
        validation_alias=AliasChoices("EMBEDDING_TABLE"),
        description='A table that is embedded in place, as in SQL: `articles`, `shop."Notes"`. Unset: '
        "`knowledge_base`, or else the only table that was adopted.",
    )
    records: str | None = Field(
        None,
        validation_alias=AliasChoices("EMBEDDING_SCHEMA"),
        description="Schema for what is kept about an adopted table. Unset: `embedding_assets_` and the table's name.",
    )
    key: Names = Field(
        (), description="Columns of its primary key, or of a unique constraint, between commas. Unset: the primary key."
    )
    text: str | None = Field(
        None,
        description=r"The column that is embedded, or a template: `Title: {title}\n{body}`. A line whose columns are "
        "all empty is left out.",
    )
    metadata: Names = Field((), description="Columns that searches show and can filter by, between commas.")
    where: str | None = Field(None, description="Embed only rows for which this SQL condition holds.")
    column: str | None = Field(
        None, description="Column for the vectors of the first space: new, or one that is there. Unset: `embedding`."
    )
