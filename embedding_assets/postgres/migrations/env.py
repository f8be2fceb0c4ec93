"""Alembic's entry point."""

from alembic import context

from embedding_assets.postgres.schema import run_alembic

run_alembic(**context.config.attributes)
