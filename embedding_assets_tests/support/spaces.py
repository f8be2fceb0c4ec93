"""Spaces beside the first one, and something in them."""

import dataclasses

from embedding_assets.spaces import VectorSpace
from embedding_assets_tests.support.fakes import FAKE_SPACE

OTHER = dataclasses.replace(FAKE_SPACE, model="fake/other", dimensions=12)


API = VectorSpace("openai", "text-embedding-3-small", "api.openai.com", 768, True, "", 8192)


def fill(database, column):
    """A vector for every chunk."""
    vector = [1, *[0] * (column.space.dimensions - 1)]
    database.run(lambda c: c.execute(f"UPDATE knowledge_base SET {column.name} = %s::vector", [str(vector)]))


def column_type(execute, column: str) -> str:
    [(found,)] = execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'knowledge_base'::regclass AND attname = %s",
        column,
    )
    return found
