"""A collection of LangChain, taken over as documents."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from embedding_assets.importing.documents import import_documents
from embedding_assets.postgres.chunks import check_is_own
from embedding_assets.postgres.foreign.langchain import choose_collection, find_collections, read_collection

if TYPE_CHECKING:
    from embedding_assets.config import Settings
    from embedding_assets.importing.options import ImportOptions
    from embedding_assets.importing.report import ImportReport
    from embedding_assets.postgres.connection import Database


def import_collection(
    settings: Settings, database: Database, name: str | None, options: ImportOptions, *, schema: str = "public"
) -> ImportReport:
    """Take over texts, metadata and vectors of a collection.

    Args:
        settings: which model made the vectors.
        database: where the collection and the table are.
        name: of the collection; None: the only one.
        options: of any import.
        schema: where LangChain's tables are.

    Raises:
        ConfigurationError: there is no such collection, or the table is not one that documents are loaded into.
        ImportRefusedError: the vectors are not those of the settings' model.
    """
    check_is_own(database)
    with database.session() as connection:
        found = choose_collection(find_collections(connection, schema), name, schema)
    source = partial(read_collection, collection=found)
    return import_documents(settings, database, source, f"collection {found.name} of LangChain", options)
