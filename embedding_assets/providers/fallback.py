"""Who stands in while the provider is down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedding_assets.errors import ConfigurationError
from embedding_assets.providers.factory import fallback_settings

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.spaces import VectorSpace

__all__ = ["stand_in_settings"]


def stand_in_settings(settings: Settings, primary: VectorSpace) -> Settings | None:
    """Settings under which the fallback is the provider; None when there is no fallback.

    Raises:
        ConfigurationError: the fallback is the provider of ``primary`` itself.
    """
    if settings.embedding.fallback == primary.provider:
        raise ConfigurationError(
            f"EMBEDDING_FALLBACK is {primary.provider}, but so is the provider, which cannot stand in for itself; "
            "unset EMBEDDING_FALLBACK, or set it or EMBEDDING_PROVIDER to another one"
        )
    return fallback_settings(settings)
