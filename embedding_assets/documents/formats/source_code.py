"""Source code, divided at its definitions."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.document import Document, Part, Places
from embedding_assets.documents.formats.opened import OpenedFile, UnreadableError, check_lines, without_data
from embedding_assets.documents.formats.values import document_metadata
from embedding_assets.documents.rejection import NOTHING, Rejection
from embedding_assets.documents.words import has_words

if TYPE_CHECKING:
    from tree_sitter import Node

_DEEPEST: Final = 6
_NAME_CHARACTERS: Final = 100
_LANGUAGE_FUNCTIONS: Final = {".tsx": "language_tsx", "typescript": "language_typescript", "php": "language_php"}
_DEFINITIONS: Final = frozenset(
    [
        "function_definition",
        "class_definition",
        "decorated_definition",
        "function_declaration",
        "class_declaration",
        "generator_function_declaration",
        "abstract_class_declaration",
        "method_definition",
        "method_declaration",
        "constructor_declaration",
        "interface_declaration",
        "enum_declaration",
        "record_declaration",
        "struct_declaration",
        "type_alias_declaration",
        "type_declaration",
        "namespace_declaration",
        "internal_module",
        "trait_declaration",
        "struct_item",
        "enum_item",
        "union_item",
        "impl_item",
        "trait_item",
        "function_item",
        "mod_item",
        "macro_definition",
        "namespace_definition",
        "class_specifier",
        "struct_specifier",
        "template_declaration",
        "module",
        "class",
        "method",
        "singleton_method",
        "singleton_class",
        "export_statement",
    ]
)
_BODIES: Final = frozenset(
    [
        "block",
        "class_body",
        "declaration_list",
        "body_statement",
        "interface_body",
        "enum_body",
        "field_declaration_list",
        "statement_block",
    ]
)
_INSIDE: Final = frozenset(
    [
        "class_definition",
        "class_declaration",
        "abstract_class_declaration",
        "interface_declaration",
        "enum_declaration",
        "record_declaration",
        "struct_declaration",
        "namespace_declaration",
        "internal_module",
        "trait_declaration",
        "impl_item",
        "trait_item",
        "mod_item",
        "namespace_definition",
        "class_specifier",
        "struct_specifier",
        "module",
        "class",
        "singleton_class",
        "decorated_definition",
        "export_statement",
        "template_declaration",
    ]
)


def read(file: OpenedFile) -> Iterator[Document | Rejection]:
    """The document that a source file is; it is parsed, never run."""
    text = without_data(file.text())
    check_lines(text)
    if not has_words(text):
        raise UnreadableError(NOTHING)
    metadata = document_metadata(file, file.name.name, {"language": _language(file)})
    yield Document(metadata, text, markdown=False, places=Places("line"), parts=_parts(file, text), is_code=True)


def _language(file: OpenedFile) -> str:
    found = file.options.format_of(file.path)
    return found.name if found is not None else ""


def _parts(file: OpenedFile, text: str) -> tuple[Part, ...]:
    from tree_sitter import Language, Parser

    name = _language(file)
    module = import_module(f"tree_sitter_{name}")
    function = _LANGUAGE_FUNCTIONS.get(file.name.suffix.lower()) or _LANGUAGE_FUNCTIONS.get(name, "language")
    data = text.encode()
    tree = Parser(Language(getattr(module, function)())).parse(data)
    starts: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    _collect(tree.root_node, (), starts, 0)
    return tuple(_with_offsets(data, starts))


def _collect(node: Node, above: tuple[str, ...], starts: list[tuple[int, tuple[str, ...]]], depth: int) -> None:
    """Where definitions begin, comments above them included, and where what follows them begins."""
    comments: Node | None = None
    for child in node.children:
        if "comment" in child.type or child.type == "attribute_item":
            comments = comments or child
            continue
        if child.type in _DEFINITIONS and (name := _name(child)):
            starts.append(((comments or child).start_byte, (*above, name)))
            body = _body(child) if depth < _DEEPEST else None
            if body is not None:
                _collect(body, (*above, name), starts, depth + 1)
            starts.append((child.end_byte, above))
        comments = None


def _body(node: Node) -> Node | None:
    """The body of a class, module or the like, in which there are definitions of their own."""
    if node.type not in _INSIDE:
        return None
    for child in node.children:
        if child.type in _BODIES:
            return child
        if child.type in _INSIDE and (found := _body(child)) is not None:
            return found
    return None


def _name(node: Node) -> str:
    for field in ("name", "declarator", "definition", "declaration", "type"):
        found = node.child_by_field_name(field)
        if found is None:
            continue
        if field in {"definition", "declaration"} or (field == "declarator" and found.named_children):
            return _name(found)
        return _words(found)
    inner = next((child for child in node.children if child.type in _DEFINITIONS), None)
    if inner is not None:
        return _name(inner)
    return _words(node) if node.child_count == 0 else ""


def _words(node: Node) -> str:
    return " ".join((node.text or b"").decode("utf-8", "replace").split())[:_NAME_CHARACTERS]


def _with_offsets(data: bytes, starts: list[tuple[int, tuple[str, ...]]]) -> Iterator[Part]:
    """Parts by characters, each to the next one; the rest of its last line and blank lines belong to a definition."""
    bounds: list[tuple[int, tuple[str, ...]]] = []
    ordered = sorted(((_line_start(data, at), names) for at, names in starts), key=lambda start: start[0])
    for (start, names), (end, _) in pairwise([*ordered, (len(data), ())]):
        if start < end and (not bounds or data[start:end].strip()):
            bounds.append((start, names))
    characters = 0
    for (start, names), (end, _) in pairwise([*bounds, (len(data), ())]):
        length = len(data[start:end].decode())
        yield Part(characters, characters + length, names)
        characters += length


def _line_start(data: bytes, at: int) -> int:
    """The beginning of a definition's line; behind a definition, the line after it."""
    line = data.rfind(b"\n", 0, at) + 1
    if not data[line:at].strip():
        return line
    following = data.find(b"\n", at)
    return following + 1 if following >= 0 else len(data)
