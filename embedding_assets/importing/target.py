"""The space that vectors are taken over into, and the provider that a sample is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from embedding_assets.errors import ConfigurationError
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.providers.space_selection import (
    create_provider,
    describe_space,
    follow_table,
    foreign_provider,
    select_space,
)

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.providers.base import EmbeddingProvider
    from embedding_assets.spaces import Similarity, SpaceColumn, VectorSpace

_BUCKETS = range(256)


@dataclass(frozen=True, slots=True)
class Target:
    """The space that vectors are taken over into.

    Attributes:
        settings: under which its model is the configured one.
        database: the table's.
        space: whose vectors they are said to be.
        similarity: what a new space ranks by.
        provider: computes vectors of it.
        column: its column; None: it is not registered yet.
    """

    settings: Settings
    database: Database = field(repr=False)
    space: VectorSpace
    similarity: Similarity
    provider: EmbeddingProvider = field(repr=False)
    column: SpaceColumn | None

    @property
    def by_api(self) -> bool:
        """Whether its texts go to an API, which bills for them."""
        return self.space.provider != "local"


def find_target(settings: Settings, database: Database) -> Target:
    """The space that the settings lead to; registers nothing, and loads no model.

    Raises:
        ConfigurationError: the settings lead to no model.
        ModelUnavailableError: the model's files cannot be had.
    """
    columns = list_spaces(database)
    followed = follow_table(settings, columns)
    if problem := foreign_provider(followed):
        raise ConfigurationError(problem)
    space, similarity = describe_space(followed)
    column = next((known for known in columns if known.space == space), None)
    if column is None and space.provider == "openai":
        # A limit by which no text was cut is no difference, as for a run.
        column = next((known for known in columns if known.space.differences(space) == ["max_tokens"]), None)
    if column is not None:
        selection = select_space(followed, column, database)
        return Target(selection.settings, database, column.space, column.similarity, selection.open_provider(), column)
    return Target(followed, database, space, similarity, create_provider(followed, database), None)


def register_target(target: Target, *, claim: bool) -> Target:
    """The same with its column, which is added or, with ``claim``, the one that is filled.

    Raises:
        SpaceMismatchError: the table is embedded in another space, and a further one is not allowed.
        ConfigurationError: the table's column cannot be that of the space.
    """
    if target.column is not None:
        return target
    column = register_space(
        target.database,
        target.space,
        new_space=target.settings.embedding.new_space,
        new_provider=True,
        claim_vectors=claim,
        similarity=target.similarity,
        index_type=target.settings.index.type,
    )
    return replace(target, column=column)


@contextmanager
def without_runs(target: Target) -> Iterator[PrefixLocks]:
    """Keep runs out of the space: they would embed, and pay for, what is about to be written.

    Raises:
        ConfigurationError: a run is embedding in it.
    """
    with closing(PrefixLocks(target.database, target.space.name)) as locks:
        if len(locks.acquire(_BUCKETS)) < len(_BUCKETS):
            raise ConfigurationError(
                f"a run is embedding in space {target.space.name}, or another import; wait for its end, or stop it, "
                "and try again"
            )
        yield locks
