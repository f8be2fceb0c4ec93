"""A space's model in a new place: on another server, or in another folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from embedding_assets.errors import ConfigurationError
from embedding_assets.providers.space_selection import Selection, describe_space, follow_table, foreign_provider

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn


def select_renamed(settings: Settings, column: SpaceColumn, database: Database) -> Selection:
    """A space under the identity that the settings give to its model: another server's name, or another folder's.

    Raises:
        ConfigurationError: the settings lead to that space already, or to another model.
        ModelUnavailableError: the model's files cannot be had.
    """
    before = column.space
    embedding = settings.embedding.model_copy(update={"provider": before.provider})
    followed = follow_table(settings.model_copy(update={"embedding": embedding}), [column])
    if (foreign := foreign_provider(followed)) is not None:
        raise ConfigurationError(foreign)
    space, _ = describe_space(followed)
    differences = space.differences(before)
    if not differences:
        raise ConfigurationError(f"the settings lead to space {before.name} as it is called now")
    # The API says no version of its weights, but what else is sent to it is part of the revision.
    same = before.revision.partition("?")[2] == space.revision.partition("?")[2]
    if differences != (["revision"] if before.provider == "openai" else ["model"]) or not same:
        found = "; ".join(f"{name} is {getattr(space, name)!r}, not {getattr(before, name)!r}" for name in differences)
        raise ConfigurationError(
            f"the settings describe another model than that of space {before.name}: {found}. Only the server or the "
            "folder of a space's model can have another name"
        )
    return Selection(followed, replace(column, space=space), database)
