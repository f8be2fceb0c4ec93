"""The provider that stands in while the configured one is down, and its space.

Vectors of two models are never mixed: a run goes on in the fallback's space (``pipeline/generator.py``), calls from
Python say in which space they were answered (``service.py``), and a search compares in one (``retrieval/sides.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedding_assets.errors import ConfigurationError
from embedding_assets.providers.space_selection import find_for_run

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.postgres.connection import Database
    from embedding_assets.spaces import SpaceColumn, VectorSpace


def fallback_settings(settings: Settings, primary: VectorSpace) -> Settings | None:
    """Settings under which the fallback is the provider; None when there is no fallback.

    Asked only once the provider is down: until then a fallback to itself does no harm, and who switches to what is
    otherwise the fallback need not unset that.

    Raises:
        ConfigurationError: the fallback is the provider of ``primary`` itself.
    """
    if settings.embedding.fallback == primary.provider:
        raise ConfigurationError(
            f"{primary.provider} is down, and EMBEDDING_FALLBACK is {primary.provider} too, which cannot stand in for "
            "itself; set EMBEDDING_FALLBACK to another provider, or unset it"
        )
    return _with_fallback(settings)


def find_fallback(settings: Settings, database: Database) -> SpaceColumn | None:
    """The fallback's space; None when there is no fallback, or the table does not have its space yet."""
    substitute = _with_fallback(settings)
    return find_for_run(substitute, database)[1] if substitute else None


def _with_fallback(settings: Settings) -> Settings | None:
    fallback = settings.embedding.fallback
    if fallback is None:
        return None
    # What is set of these is meant for the other provider's model.
    unset = dict.fromkeys(("document_prompt", "query_prompt", "similarity"))
    embedding = settings.embedding.model_copy(update={"provider": fallback, "fallback": None, **unset})
    embedding.model_fields_set.difference_update(unset)
    return settings.model_copy(update={"embedding": embedding})
