"""Tables to be asked."""

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import FakeProvider


def embed(settings: Settings, database: Database, provider: FakeProvider) -> None:
    """Embed what is pending in the provider's space."""
    EmbeddingGenerator(
        settings.with_embedding(new_space=True), database=database, provider=provider
    ).generate_embeddings_batch()
