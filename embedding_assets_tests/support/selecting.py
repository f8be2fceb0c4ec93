"""What a run selects, where there is no API to ask."""

from unittest.mock import patch

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.base import EmbeddingProvider
from embedding_assets.providers.space_selection import Selection, select_for_run


def select_unasked(settings: Settings, database: Database, provider: EmbeddingProvider | None = None) -> Selection:
    """The space that a run embeds into, registered as if an API had embedded its first text."""
    with patch("embedding_assets.providers.space_selection.confirm_embedding"):
        return select_for_run(settings, database, provider)
