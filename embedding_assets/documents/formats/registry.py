"""The formats that are read: what their files' names end in, and what reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import PurePath
from typing import Final

EXTRA: Final = "pip install 'embedding-assets[documents]'"


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Attributes:
        name: by which it is chosen.
        title: what people call it.
        suffixes: what its files' names end in, in lower case.
        module: of this package, with the function ``read``.
        packages: what has to be installed, as it is imported.
        has_rows: whether its rows are documents of their own.
        names: what its files without a suffix are called, in lower case.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    module: str
    packages: tuple[str, ...] = ()
    has_rows: bool = False
    names: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Whether all is there that reads it."""
        return all(map(_is_there, self.packages))


@cache
def _is_there(package: str) -> bool:
    return find_spec(package) is not None


_LANGUAGES: Final = {
    "python": ("Python", (".py", ".pyi")),
    "javascript": ("JavaScript", (".js", ".jsx", ".mjs", ".cjs")),
    "typescript": ("TypeScript", (".ts", ".tsx", ".mts", ".cts")),
    "go": ("Go", (".go",)),
    "rust": ("Rust", (".rs",)),
    "java": ("Java", (".java",)),
    "c": ("C", (".c", ".h")),
    "cpp": ("C++", (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx")),
    "c_sharp": ("C#", (".cs",)),
    "ruby": ("Ruby", (".rb",)),
    "php": ("PHP", (".php",)),
    "bash": ("Shell", (".sh", ".bash")),
}

_TEXT_NAMES: Final = (
    "readme",
    "changelog",
    "changes",
    "news",
    "install",
    "authors",
    "contributing",
    "license",
    "notice",
    "copying",
    "copyright",
    "history",
    "todo",
    "faq",
    "credits",
    "thanks",
    "contributors",
    "maintainers",
)

FORMATS: Final = (
    Format(
        "markdown", "Markdown, MDX", (".md", ".markdown", ".mdx", ".mkd", ".mdown", ".qmd", ".rmd"), "markdown_text"
    ),
    Format("text", "plain text", (".txt", ".text", ".adoc", ".asciidoc", ".org"), "plain_text", names=_TEXT_NAMES),
    Format("rst", "reStructuredText", (".rst", ".rest"), "plain_text"),
    Format("html", "HTML", (".html", ".htm", ".xhtml"), "html", ("selectolax",)),
    Format("notebook", "Jupyter notebook", (".ipynb",), "notebook"),
    Format("jsonl", "JSON lines", (".jsonl", ".ndjson"), "json_lines", has_rows=True),
    Format("json", "JSON", (".json",), "json_rows", has_rows=True),
    Format("csv", "CSV", (".csv",), "delimited", has_rows=True),
    Format("tsv", "TSV", (".tsv", ".tab"), "delimited", has_rows=True),
    Format("parquet", "Parquet", (".parquet", ".pq"), "columnar", has_rows=True),
    Format("arrow", "Arrow, Feather", (".arrow", ".feather", ".ipc"), "columnar", has_rows=True),
    Format("xlsx", "Excel", (".xlsx", ".xlsm"), "excel", ("openpyxl",), has_rows=True),
    Format("pdf", "PDF", (".pdf",), "pdf", ("pypdf",)),
    Format("docx", "Word", (".docx",), "word", ("docx",)),
    Format("pptx", "PowerPoint", (".pptx",), "slides", ("pptx",)),
    Format("epub", "EPUB", (".epub",), "epub", ("selectolax",)),
    Format("email", "mail", (".eml",), "email_message"),
    *(
        Format(name, title, suffixes, "source_code", ("tree_sitter", f"tree_sitter_{name}"))
        for name, (title, suffixes) in _LANGUAGES.items()
    ),
)

_BY_NAME: Final = {one.name: one for one in FORMATS}
_BY_SUFFIX: Final = {suffix: one for one in FORMATS for suffix in one.suffixes}
_BY_FILE_NAME: Final = {name: one for one in FORMATS for name in one.names}
SUFFIXES: Final = tuple(_BY_SUFFIX)


def format_named(name: str) -> Format | None:
    """The format of that name."""
    return _BY_NAME.get(name)


def format_of(path: PurePath) -> Format | None:
    """The format of a file, see ``format_by_name``."""
    return format_by_name(path.name)


def format_by_name(name: str) -> Format | None:
    """The format of a file by what its name ends in, ``.gz`` aside, or by all of it; None if it is of another kind."""
    name = name.lower().removesuffix(".gz")
    dot = name.rfind(".")
    return _BY_SUFFIX.get(name[dot:]) if dot > 0 else _BY_FILE_NAME.get(name)


def names_of_formats() -> list[str]:
    """The names by which formats are chosen."""
    return list(_BY_NAME)
