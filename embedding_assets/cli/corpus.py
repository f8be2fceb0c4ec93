"""The demonstration corpus: documentation that every Python environment carries, so that nothing is downloaded."""

from __future__ import annotations

import ast
import importlib.metadata
import math
import os
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from embedding_assets.documents.document import Document
from embedding_assets.documents.lines import normalized_newlines
from embedding_assets.models import DocumentMetadata

MAX_ESTIMATED_CHUNKS = 3_000
"""Size of the corpus: enough that speed and an index mean something, few enough for minutes on two cores.

The estimate is one chunk a section and 900 characters, which at 256 tokens of BERT's vocabulary is a little low.
"""

# Long descriptions run to 140,000 characters; what a package is stands at the beginning.
_README_CHARACTERS = 8_000
_CHARACTERS_PER_CHUNK = 900

# Test data, programs, and interfaces of hundreds of near-identical one-line methods.
_SKIPPED_FOLDERS = (
    frozenset({"site-packages", "dist-packages", "lib-dynload", "ensurepip"})
    | frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data"})
    | frozenset({"tkinter", "distutils", "msilib", "encodings"})
)
_CHANGE_LOG = re.compile(
    r"^(?:#{1,4} *)?(?:change ?log|changes|release notes|release history|history|what's new)\b[^\n]{0,40}\n"
    r"(?=(?:[ \t]*\n)|[=\-~]{3,})",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"^#{1,6} .*$", re.MULTILINE)
_NOISE = re.compile(
    r"<!--[\s\S]*?-->"  # HTML comments
    r"|</?[a-zA-Z][^<>]{0,1000}>"  # HTML tags
    r"|\[!\[[^\]\n]*\]\([^)\n]*\)\]\([^)\n]*\)"  # badges
    r"|\[!\[[^\]\n]*\](?:\[[^\]\n]*\])?\](?:\[[^\]\n]*\])?"
    r"|!\[[^\]\n]*\](?:\([^)\n]*\)|\[[^\]\n]*\])"  # images
    r"|^\[[^\]\n]+\]:[ \t]*\S+[ \t]*$"  # link targets
    r"|^\.\. (?:image::|figure::|\||_).*\n(?:[ \t]+:.*\n)*",  # reStructuredText images, substitutions, link targets
    re.MULTILINE,
)
_NOISE_LINE = re.compile(r"^[ \t]*(?:\|[\w .-]+\|[ \t]*)+$", re.MULTILINE)
_OVERLINED = re.compile(r"^([=\-~#*^])\1{2,}[ \t]*\n[ \t]*(\S.*)\n(\1{3,})[ \t]*$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def installed_documents() -> Iterator[Document]:
    """The long descriptions of the installed distributions, then the docstrings of the standard library.

    Sources are parsed, never imported. The order is fixed: distributions by name, modules by depth and name, until
    ``MAX_ESTIMATED_CHUNKS``.
    """
    distributions = _distribution_documents(importlib.metadata.distributions())
    yield from _capped(
        chain(distributions, _stdlib_documents(Path(sysconfig.get_path("stdlib")))), MAX_ESTIMATED_CHUNKS
    )


def _capped(documents: Iterable[Document], most: int) -> Iterator[Document]:
    total = 0
    for document in documents:
        total += _estimated_chunks(document.text)
        yield document
        if total >= most:
            return


def _estimated_chunks(text: str) -> int:
    return sum(math.ceil(len(body.strip()) / _CHARACTERS_PER_CHUNK) for body in _HEADING.split(text))


def _distribution_documents(distributions: Iterable[importlib.metadata.Distribution]) -> Iterator[Document]:
    found: dict[str, Document] = {}
    for distribution in distributions:
        document = _distribution_document(distribution)
        # The first of two that share a name is the one that gets imported.
        if document is not None:
            found.setdefault(document.metadata.source, document)
    for source in sorted(found):
        yield found[source]


def _distribution_document(distribution: importlib.metadata.Distribution) -> Document | None:
    fields = distribution.metadata.json
    name, version = str(fields.get("name", "")), str(fields.get("version", ""))
    description = _shortened(_readable(str(fields.get("description", ""))))
    if not name or not description:
        return None
    source = f"dist:{re.sub(r'[-_.]+', '-', name).lower()}"
    return _document(source, name, description, kind="distribution", version=version)


def _document(source: str, title: str, text: str, **fields: str) -> Document:
    metadata = DocumentMetadata.model_validate({"source": source, "title": title, **fields})
    return Document(metadata, text, markdown=True)


def _readable(description: str) -> str:
    """A long description without badges, images, HTML, change log and what cannot be stored."""
    text = normalized_newlines(description.encode("utf-8", "ignore").decode()).replace("\x00", "")
    text = _NOISE_LINE.sub("", _NOISE.sub("", text))
    # Markdown knows a heading by the line under it alone.
    text = _CHANGE_LOG.split(_OVERLINED.sub(r"\2\n\3", text), maxsplit=1)[0]
    return _BLANK_LINES.sub("\n\n", text).strip()


def _shortened(text: str) -> str:
    if len(text) <= _README_CHARACTERS:
        return text
    end = text.rfind("\n\n", 0, _README_CHARACTERS)
    return text[: end if end > 0 else _README_CHARACTERS].rstrip()


def _stdlib_documents(folder: Path) -> Iterator[Document]:
    for name, path in _modules(folder):
        text = _module_markdown(path)
        if text:
            yield _document(f"python:{name}", name, text, kind="stdlib")


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Public modules and their sources, top-level ones first."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name.isidentifier() and _is_public(name)]
        package = Path(parent).relative_to(folder).parts
        for file in files:
            path = Path(parent, file)
            parts = package if path.stem == "__init__" else (*package, path.stem)
            if path.suffix == ".py" and parts and _is_public(parts[-1]):
                found.append((len(parts), ".".join(parts), path))
    return [(name, path) for _, name, path in sorted(found)]


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in _SKIPPED_FOLDERS


def _module_markdown(path: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    parts = [_docstring(tree)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            parts.append(_headed(f"## class {node.name}", [_docstring(node), *_method_paragraphs(node)]))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            parts.append(_headed(f"## {node.name}", [_function_text(node)]))
    return "\n\n".join(part for part in parts if part)


def _headed(heading: str, parts: Iterable[str]) -> str:
    body = "\n\n".join(part for part in parts if part)
    return f"{heading}\n\n{body}" if body else ""


def _method_paragraphs(node: ast.ClassDef) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield _function_text(child)


def _function_text(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    docstring = _docstring(node)
    return f"`{node.name}({ast.unparse(node.args)})`\n\n{docstring}" if docstring else ""


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    text = (ast.get_docstring(node) or "").encode("utf-8", "ignore").decode().replace("\x00", "")
    return normalized_newlines(text).strip()
