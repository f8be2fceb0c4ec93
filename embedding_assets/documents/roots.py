"""What is to be loaded, wherever it is, each with its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.collections import LocalRoot, is_same_folder, local_root
from embedding_assets.documents.stores.address import is_elsewhere
from embedding_assets.documents.stores.root import StoreRoot, store_root
from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible
from embedding_assets.postgres.chunks import check_is_own
from embedding_assets.postgres.documents import Collection, list_collections, sample_documents
from embedding_assets.postgres.source_records import find_source

if TYPE_CHECKING:
    from embedding_assets.documents.root import Root
    from embedding_assets.documents.standard_input import SpooledInput
    from embedding_assets.postgres.connection import Database

_COMPARED: Final = 50
"""Documents by which a collection is recognised in another folder."""


def find_roots(
    database: Database, paths: Sequence[str], collection: str | None, standard_input: SpooledInput | None = None
) -> list[Root]:
    """What is to be loaded, each with its name; no file is read yet.

    A path in a folder that was loaded before, or is given before it, belongs to that folder's collection. Any other is
    the folder of a collection of its own name; of a file it is the folder around it.

    Args:
        database: which collections there are.
        paths: files and folders of this machine, and URLs.
        collection: the name to use instead.
        standard_input: what the path ``-`` stands for.

    Raises:
        ConfigurationError: the table is one that somebody else fills.
        DocumentError: a path is empty or not there, what is elsewhere cannot be had, or a collection of that name was
            loaded from a folder that holds other documents.
    """
    check_is_own(database)
    known = list_collections(database)
    roots: list[Root] = []
    for given in paths:
        root: Root
        if given == "-" and standard_input is not None:
            root = standard_input.root(known, collection)
        else:
            root = (store_root if is_elsewhere(given) else local_root)(given, known, collection)
        if root in roots:
            continue
        _check_is_free(database, root.collection.name)
        _check_is_other(root, roots)
        before = next((one for one in known if one.name == root.collection.name), None)
        if before is not None and not is_same_folder(before.root, root.collection.root):
            if other := next((one for one in roots if one.collection.name == before.name), None):
                raise DocumentError(
                    f"{root} and {other} would both be the collection {before.name}; load them one by one, each with a "
                    "--collection of its own"
                )
            if collection is None:
                _check_is_moved(database, before, root)
        known = [*(one for one in known if one.name != root.collection.name), root.collection]
        roots.append(root)
    return roots


def collections_inside(database: Database, roots: Sequence[Root]) -> list[str]:
    """Names of other collections that were loaded from folders below these: their documents are loaded twice."""
    own = {root.collection.name for root in roots}
    return [
        one.name
        for one in list_collections(database)
        if one.name not in own and any(root.surrounds(one.root) for root in roots)
    ]


def _check_is_free(database: Database, name: str) -> None:
    if database.table.is_own and database.run(lambda connection: find_source(connection, name)) is not None:
        raise DocumentError(
            f"{name} is a source of `embedding-assets sync`, whose documents are called so; give another name with "
            "--collection"
        )


def _check_is_other(root: Root, roots: Sequence[Root]) -> None:
    """Make sure that no two files elsewhere would be the same document, as those whose URLs differ in a query."""
    others = [one for one in roots if isinstance(one, StoreRoot) and one.origin == root.origin]
    if isinstance(root, StoreRoot) and any(one.address != root.address for one in others):
        raise DocumentError(
            f"two of the URLs would both be the document {visible(root.origin)}; load them one by one, each with a "
            "--collection of its own"
        )


def _check_is_moved(database: Database, before: Collection, root: Root) -> None:
    """Make sure that a collection's folder was moved, and is not another one of the same name."""
    is_same = False
    if isinstance(root, LocalRoot):
        sample = sample_documents(database, before.name, _COMPARED)
        is_same = 2 * sum(root.has(origin, content) for origin, content in sample) >= len(sample)
    if not is_same:
        holds = ", which holds other documents" if isinstance(root, LocalRoot) else ""
        raise DocumentError(
            f"{root}: the collection {before.name} was loaded from {visible(before.root)}{holds}. Give this one a name "
            "of its own with --collection NAME; if it is the same one, moved and changed, say so with --collection "
            f"{before.name}"
        )
