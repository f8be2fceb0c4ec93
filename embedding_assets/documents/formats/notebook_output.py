"""What the code of a notebook printed or showed, as text; not pictures, and not the tracebacks of errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from embedding_assets.documents.formats.opened import UnreadableError
from embedding_assets.documents.formats.registry import format_named
from embedding_assets.documents.lines import normalized_newlines

_PLAIN: Final = "text/plain"
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_SEQUENCES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x08")
"""Colours, movements, and what goes back by a character."""
_ADDRESS: Final = re.compile(r"(<[^<>\n]{1,300}?) at 0x[0-9a-fA-F]{3,16}(?=[>,])")
_NAME: Final = (
    r"(?><[^<>\n]{1,300}? at 0x[0-9a-fA-F]{3,16}>|<[\w.]{1,300} object>|<\w{1,100} object of \d+ artists>"
    r"|<(?:Figure|Axes|AxesSubplot|Axes3DSubplot)\b[^<>\n]*>|Text\([^()\n]*\))"
)
_NAMES_ALONE: Final = re.compile(rf"(?:array)?[\[(,\s]*+(?:{_NAME}[\[\](),\s]*+)++(?:dtype=object\))?\s*+")
"""Names of objects, which stand for the picture or the page that is shown, and say nothing; in linear time."""
_TO_TRUST: Final = "Make this Notebook Trusted to load map: File -> Trust Notebook"
"""What folium writes beside the frame of a map."""


def printed(outputs: Iterable[Any]) -> str:
    """The text of a cell's outputs, each from a line of its own on."""
    texts = (_ADDRESS.sub(r"\1", text).rstrip() for text in _texts(outputs))
    return "".join(f"{text}\n" for text in texts if text)


def joined_lines(value: Any) -> str:
    """A text, which notebooks also keep as a list of lines."""
    return normalized_newlines(_raw(value))


def _texts(outputs: Iterable[Any]) -> Iterator[str]:
    stream, name = "", None
    for output in outputs:
        if not isinstance(output, dict):
            continue
        is_stream = output.get("output_type") == "stream"
        if stream and not (is_stream and output.get("name") == name):
            yield _last_states(stream)
            stream = ""
        if is_stream:
            # In parts, at whose ends no line need end.
            stream, name = stream + _raw(output.get("text")), output.get("name")
        else:
            yield _shown(output)
    yield _last_states(stream)


def _last_states(text: str) -> str:
    """Lines as they were left by what wrote over them, such as a progress bar."""
    text = text.replace("\r\n", "\n")
    if "\r" not in text:
        return text
    return "\n".join(next(filter(str.strip, reversed(line.split("\r"))), "") for line in text.split("\n"))


def _shown(output: dict[str, Any]) -> str:
    """A value in the way that says most."""
    data = output.get("data")
    if not isinstance(data, dict):
        # As in version 3.
        data = {_PLAIN: output.get("text"), "text/html": output.get("html"), "text/latex": output.get("latex")}
    if _WIDGET in data:
        return ""
    text = joined_lines(data.get(_PLAIN))
    if text.strip() and not _NAMES_ALONE.fullmatch(text):
        return text
    ways = (joined_lines(data.get("text/markdown")), joined_lines(data.get("text/latex")))
    return next(filter(str.strip, ways), "") or _page(joined_lines(data.get("text/html")))


def _page(html: str) -> str:
    kind = format_named("html")
    if not html.strip() or kind is None or not kind.is_installed:
        return ""
    from embedding_assets.documents.formats.html import page

    try:
        return page(html.replace(_TO_TRUST, ""))[1]
    except UnreadableError:
        return ""


def _raw(value: Any) -> str:
    if isinstance(value, list):
        value = "".join(line for line in value if isinstance(line, str))
    return _SEQUENCES.sub("", value) if isinstance(value, str) else ""
