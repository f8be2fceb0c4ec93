"""What a collection may be called, and to which one something belongs that is to be loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible
from embedding_assets.postgres.documents import Collection

_MOST_NAME_BYTES: Final = 200


def name_root(
    folder: str,
    file: str | None,
    *,
    shown: str,
    default: str,
    known: Sequence[Collection],
    wanted: str | None,
    below: Callable[[Collection], str | None],
) -> tuple[Collection, str]:
    """The collection of what is to be loaded, and what it is called itself.

    What lies in a folder that was loaded before belongs to that folder's collection. Anything else is of a collection
    of its folder's own name.

    Args:
        folder: the folder that it is, or is in.
        file: of a file: its name.
        shown: it, in an error.
        default: the folder's name.
        known: the collections that there are.
        wanted: the name to use instead.
        below: the path from a collection's folder to ``folder``, empty if it is that; None if it is not in there.

    Raises:
        DocumentError: nothing can be called so.
    """
    around = None
    for one in known:
        # Of several the one deepest down: it was loaded on purpose.
        fits = wanted in (None, one.name) and below(one) is not None
        if fits and (around is None or len(one.root) > len(around.root)):
            around = one
    if around is not None:
        path = below(around) or ""
        collection = Collection(around.name, around.root, around.is_folder or (file is None and not path))
    else:
        path = ""
        collection = Collection(default if wanted is None else wanted, folder, file is None)
    _check_name(collection.name, shown, is_default=wanted is None)
    return collection, "/".join([collection.name, *([path] if path else []), *([] if file is None else [file])])


def _check_name(name: str, shown: str, *, is_default: bool) -> None:
    printed = visible(name)
    is_name = (
        name
        and "/" not in name
        and printed == name
        and name.strip() == name
        and len(name.encode("utf-8", "replace")) <= _MOST_NAME_BYTES
    )
    if is_name:
        return
    if is_default:
        raise DocumentError(
            f"{shown}: the folder's name {printed!r} cannot be that of a collection; give one with --collection"
        )
    raise DocumentError(f"--collection: {printed!r} is no name; use up to 200 printable characters without /")
