"""Settings of the documents that are loaded without being named each time."""

from __future__ import annotations

from pydantic import AliasChoices, Field
from pydantic_settings import SettingsConfigDict

from embedding_assets.config.environment import EnvironmentSettings
from embedding_assets.config.table import Names


class DocumentsConfig(EnvironmentSettings):
    """The folders and buckets that Dagster, and `embedding-assets load` without a PATH, keep loaded."""

    model_config = SettingsConfigDict(env_prefix="EMBEDDING_DOCUMENTS_", populate_by_name=True)

    paths: Names = Field(
        (),
        validation_alias=AliasChoices("EMBEDDING_DOCUMENTS"),
        description="Folders and files by absolute paths, buckets and files elsewhere by URLs as s3://bucket/docs, "
        "between commas: what `embedding-assets load` loads when it is given none. With it there is an asset "
        "`documents` with a check and a sensor. Unset: neither.",
    )
    prune: bool = Field(
        False,
        description="Remove documents whose files are gone, unless they are more than a fifth of a collection.",
    )
    include: Names = Field((), description="Only files that one of these names, as in .gitignore, between commas.")
    exclude: Names = Field((), description="Not what one of these names, as in .gitignore, between commas.")
    text_column: str | None = Field(
        None, description="Field of a row with the text. Unset: `text`, `content`, `body` and others."
    )
    text_template: str | None = Field(
        None, description=r"Text of a row made of several fields, as `{title}\n{body}`, instead of one field."
    )
    no_ignore: bool = Field(False, description="Load what .gitignore names and what tools make, too.")
    accept_rejected: bool = Field(
        False,
        description="Take what could be read of a file with rejected rows as all of it, and remove what else was "
        "loaded of it. Else that stays.",
    )
    encoding: str | None = Field(None, description="Of text files that are not UTF-8, e.g. cp1252.")
