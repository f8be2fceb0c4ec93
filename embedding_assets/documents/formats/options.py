"""How files are to be read."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import PurePath
from string import Formatter

from embedding_assets.documents.formats.registry import Format, format_named, format_of, names_of_formats
from embedding_assets.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are to be read.

    Attributes:
        text_column: field of a row that holds its text; None takes the first of ``TEXT_COLUMNS``.
        encoding: of text files that are not UTF-8 and do not begin with a mark of theirs; a name that Python knows.
        format: the format of every file, whatever its name ends in.
        template: text of a row, as ``{title}\\n{body}``, instead of a single field.

    Raises:
        ConfigurationError: no such encoding or format, or a template without fields, or beside a column.
    """

    text_column: str | None = None
    encoding: str | None = None
    format: str | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise ConfigurationError(f"--encoding: {self.encoding!r} is no encoding of text that Python knows")
        if self.format is not None and format_named(self.format) is None:
            names = ", ".join(names_of_formats())
            raise ConfigurationError(f"--format: there is no format {self.format!r}; there are {names}")
        if self.template is not None:
            if self.text_column is not None:
                raise ConfigurationError("--text-column and --text-template: only one of them says what the text is")
            fields_of_template(self.template)

    def format_of(self, path: PurePath) -> Format | None:
        """The format that a file is read in: the one named, or that of its name; None if it is of another kind."""
        return format_named(self.format) if self.format else format_of(path)

    @property
    def manner(self) -> str:
        """All that what is read depends on, besides the file."""
        return "\x00".join(map(str, (self.text_column or "", self.encoding, self.format, self.template)))


def fields_of_template(template: str) -> list[tuple[str, str]]:
    """Text and the name of the field behind it, for each field of a template; the last name may be empty.

    Raises:
        ConfigurationError: it has no field, or more than names in its braces.
    """
    try:
        parsed = list(Formatter().parse(template.replace("\\n", "\n").replace("\\t", "\t")))
    except ValueError as error:
        raise ConfigurationError(f"--text-template: {error}") from None
    if any(spec or conversion for _, _, spec, conversion in parsed) or any(name == "" for _, name, _, _ in parsed):
        raise ConfigurationError(
            "--text-template: braces hold the name of a field, as in {title}; write {{ for a brace"
        )
    parts = [(text, name or "") for text, name, _, _ in parsed]
    if not any(name for _, name in parts):
        raise ConfigurationError("--text-template: names no field, as in {title}")
    return parts


def _is_text_encoding(name: str) -> bool:
    try:
        info = codecs.lookup(name)
    except LookupError:
        return False
    # Others turn text into text, or read escapes.
    return bool(getattr(info, "_is_text_encoding", True)) and info.name not in _NOT_OF_FILES


_NOT_OF_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem"})
