"""Jupyter notebooks: their cells, and what the code printed or showed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any, Final

from embedding_assets.documents.document import Document, Places
from embedding_assets.documents.formats.notebook_output import joined_lines, printed
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, decoded, without_data
from embedding_assets.documents.formats.values import document_metadata, storable
from embedding_assets.documents.markdown import markdown_title
from embedding_assets.documents.rejection import NOTHING, TOO_DEEP, Rejection
from embedding_assets.documents.words import has_words
from embedding_assets.formatting import counted

logger = logging.getLogger(__name__)

_MOST_OUTPUT_CHARACTERS: Final = 20_000


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a notebook is; nothing of it is run."""
    try:
        value = json.loads(decoded(file.read(), file.options.encoding))
    except RecursionError:
        raise UnreadableError(TOO_DEEP) from None
    except ValueError:
        raise UnreadableError("is not valid JSON, as a notebook is") from None
    cells = _cells(value)
    if cells is None:
        raise UnreadableError("is JSON, but not a notebook of version 3 or 4")
    language = _language(value)
    outputs = [_printed(cell) for cell in cells]
    if (cut := sum(len(text) > _MOST_OUTPUT_CHARACTERS for text in outputs)) > 0:
        said = f"left out what {counted(cut, 'cell')} printed beyond {_MOST_OUTPUT_CHARACTERS:,} characters"
        logger.warning(said, extra={"document": file.source})
    texts = [
        storable(without_data(_cell(cell, output[:_MOST_OUTPUT_CHARACTERS], language)), "cells")
        for cell, output in zip(cells, outputs, strict=True)
    ]
    text, starts = joined_units(texts)
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    yield Document(
        document_metadata(file, markdown_title(text), {"language": language}),
        text,
        markdown=True,
        places=Places("cell", starts),
    )


def joined_units(texts: list[str]) -> tuple[str, tuple[int, ...]]:
    """Texts as one, with blank lines between them, and the offsets at which all but the first begin."""
    parts: list[str] = []
    starts = []
    at = 0
    for text in texts:
        if parts:
            starts.append(at)
        parts.append(f"{text}\n\n")
        at += len(parts[-1])
    return "".join(parts), tuple(starts)


def _cells(value: Any) -> list[Any] | None:
    if not isinstance(value, dict):
        return None
    cells = value.get("cells")
    if cells is None and isinstance(sheets := value.get("worksheets"), list):
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    return cells if isinstance(cells, list) else None


def _language(value: dict[str, Any]) -> str:
    metadata = value.get("metadata")
    for key in ("kernelspec", "language_info"):
        described = metadata.get(key) if isinstance(metadata, dict) else None
        name = described.get("language" if key == "kernelspec" else "name") if isinstance(described, dict) else None
        if isinstance(name, str):
            return name[:30]
    return ""


def _cell(cell: Any, output: str, language: str) -> str:
    if not isinstance(cell, dict):
        return ""
    kind = cell.get("cell_type")
    source = joined_lines(cell.get("source", cell.get("input")))
    if kind == "heading":
        return f"# {source}"
    if kind != "code":
        return source
    return "\n\n".join(block for block in (_fenced(source, language), _fenced(output, "")) if block)


def _printed(cell: Any) -> str:
    outputs = cell.get("outputs") if isinstance(cell, dict) and cell.get("cell_type") == "code" else None
    return printed(outputs) if isinstance(outputs, list) else ""


def _fenced(text: str, language: str) -> str:
    text = text.strip("\n")
    if not text.strip():
        return ""
    fence = "```" if "```" not in text else "~~~~"
    return f"{fence}{language}\n{text}\n{fence}"
