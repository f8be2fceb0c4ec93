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
    return fallback_settings(settings)
