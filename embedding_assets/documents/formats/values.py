"""Values of rows, front matter and properties as JSON keeps them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError
from embedding_assets.documents.formats.partitions import partition_fields
from embedding_assets.documents.rejection import TOO_DEEP
from embedding_assets.models import DocumentMetadata

logger = logging.getLogger(__name__)

MOST_NUMBERS: Final = 32
"""A longer list of numbers is a vector or a signal, not what somebody would filter by, and is left out."""

_TAKEN: Final = ("origin", "position")
_OWN: Final = frozenset({"source", "title", *_TAKEN})
_LEFT_OUT: Final = object()


def is_unicode(text: str) -> bool:
    """True if a text can be encoded, as one with lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_missing(value: object) -> bool:
    """Whether there is nothing, or NaN, which pandas writes then."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def storable(text: str, name: str) -> str:
    """The text, if PostgreSQL can store it.

    Raises:
        UnreadableError: it cannot.
    """
    if "\x00" in text:
        raise UnreadableError(f"contains a NUL character in {name[:60]!r}")
    if not is_unicode(text):
        raise UnreadableError(f"contains a lone surrogate, which is not valid Unicode, in {name[:60]!r}")
    return text


def json_fields(fields: Mapping[str, object], file: OpenedFile, without: frozenset[str] = _OWN) -> dict[str, Any]:
    """The fields that say something, as JSON keeps them; long lists of numbers are left out, which is logged.

    Raises:
        UnreadableError: a text cannot be stored.
    """
    kept = {}
    for name, value in fields.items():
        if name in without:
            continue
        plain = json_value(value, name)
        if plain is _LEFT_OUT:
            log_left_out(file, name, "a long list of numbers")
        elif plain not in (None, ""):
            kept[storable(name, name)] = plain
    return kept


def taken_fields(fields: Mapping[str, object], file: OpenedFile, names: Iterable[str] = _TAKEN) -> dict[str, Any]:
    """Those that are called as something that a document has anyway, under names of their own: ``origin_fields``.

    Raises:
        UnreadableError: a text cannot be stored.
    """
    return json_fields({f"{name}_fields": fields[name] for name in names if name in fields}, file)


def fields_of_folders(file: OpenedFile, without: frozenset[str] = _OWN) -> dict[str, Any]:
    """The fields that the folders above a file name.

    Raises:
        UnreadableError: a text cannot be stored.
    """
    return json_fields(partition_fields(file.source), file, without)


_logged: set[tuple[str, str]] = set()


def log_left_out(file: OpenedFile, name: str, what: str) -> None:
    """Log what of a field is not in the metadata, once a file, not once a row."""
    if (file.source, name) not in _logged:
        if len(_logged) > 10_000:
            _logged.clear()
        _logged.add((file.source, name))
        logger.warning("left out %s", what, extra={"document": file.source, "field": name[:60]})


def json_value(value: object, name: str) -> object:  # noqa: PLR0911 (one for each type)
    """A field as JSON keeps it: dates and decimals as text, NaN and bytes as null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return storable(value, name)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = {storable(str(key), name): json_value(item, name) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not _LEFT_OUT}
    if isinstance(value, list | tuple | set | frozenset):
        if len(value) > MOST_NUMBERS and all(isinstance(item, int | float) for item in value):
            return _LEFT_OUT
        return [item for item in (json_value(item, name) for item in value) if item is not _LEFT_OUT]
    return None if isinstance(value, bytes) else storable(str(value), name)


def document_metadata(file: OpenedFile, title: str, fields: Mapping[str, object]) -> DocumentMetadata:
    """The metadata of a file that is one document.

    Raises:
        UnreadableError: a field cannot be stored.
    """
    kept = fields_of_folders(file) | json_fields(fields, file) | taken_fields(fields, file, ("source", *_TAKEN))
    try:
        return DocumentMetadata.model_validate(
            {**kept, "source": file.source, "title": storable(" ".join(title.split()), "title") or file.name.stem}
        )
    except (ValidationError, RecursionError):
        raise UnreadableError(TOO_DEEP) from None
