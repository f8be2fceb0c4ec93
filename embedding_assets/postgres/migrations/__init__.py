"""Schema versions, applied by embedding_assets.postgres.schema."""
