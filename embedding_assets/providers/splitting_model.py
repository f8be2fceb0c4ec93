"""The model whose tokens documents are split by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import ModelUnavailableError
from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.providers.space_selection import configured_files, follow_table

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.encoder.files import ModelFiles
    from embedding_assets.postgres.connection import Database


def model_for_splitting(settings: Settings, database: Database) -> tuple[Settings, ModelFiles]:
    """The settings and the files of the model whose tokens documents are split by, fetched if need be.

    Where an API computes the vectors, a local model still counts the tokens of documents: that of the table's local
    space, so that a document is split as before, or the demo model where there is no such space and no other model.

    Raises:
        ModelUnavailableError: the model's files cannot be had.
    """
    columns = list_spaces(database)
    followed = follow_table(settings, columns)
    if followed.embedding.provider == "local":
        return followed, configured_files(followed)
    local = follow_table(followed.with_embedding(provider="local"), columns)
    try:
        return local, configured_files(local)
    except ModelUnavailableError as unavailable:
        if "model_name" in local.embedding.model_fields_set:
            raise
        demo = local.with_embedding(model_name=DEMO_MODEL)
        try:
            return demo, configured_files(demo)
        except ModelUnavailableError:
            raise unavailable from None
