"""The documents of EMBEDDING_DOCUMENTS into the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedding_assets.documents.file_loading import LoadOptions, load_files
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.loading import LoadReport, configured_splitter
from embedding_assets.documents.roots import find_roots
from embedding_assets.documents.stores.address import is_elsewhere, parsed
from embedding_assets.documents.stores.opening import open_store
from embedding_assets.documents.stores.root import file_at
from embedding_assets.documents.stores.store import StoreError
from embedding_assets.errors import DocumentError
from embedding_assets.formatting import visible

if TYPE_CHECKING:
    from embedding_assets.config import DocumentsConfig, Settings
    from embedding_assets.documents.rejection import Rejection
    from embedding_assets.postgres.connection import Database

_FIRST: Final = 20


@dataclass(slots=True)
class ConfiguredLoad:
    """The outcome of loading what is configured.

    Attributes:
        report: counts.
        collections: names of what was loaded.
        missing: sentences on paths and URLs that do not lead to anything.
        reasons: how many rejections there were of each kind.
        first: the first rejections.
    """

    report: LoadReport = field(default_factory=LoadReport)
    collections: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[Rejection] = field(default_factory=list)

    def reject(self, rejection: Rejection) -> None:
        """Count what could not be loaded."""
        self.reasons[rejection.kind] += 1
        if len(self.first) < _FIRST:
            self.first.append(rejection)


def configured_choice(config: DocumentsConfig) -> Choice:
    """Which files of the folders are wanted.

    Raises:
        DocumentError: a pattern is none.
    """
    choice = Choice(config.include, config.exclude, config.no_ignore)
    choice.check()
    return choice


def configured_options(config: DocumentsConfig) -> LoadOptions:
    """How the files are loaded.

    Raises:
        ConfigurationError: there is no such encoding, or the template has no field.
        DocumentError: a pattern is none.
    """
    read = ReadOptions(text_column=config.text_column, encoding=config.encoding, template=config.text_template)
    return LoadOptions(
        read=read, choice=configured_choice(config), prune=config.prune, accept_rejected=config.accept_rejected
    )


def find_fault(path: str) -> str | None:
    """A sentence on what is wrong with a path or URL, such as that it does not exist; None if it leads to something."""
    if is_elsewhere(path):
        try:
            address = parsed(path)
            file_at(address, open_store(address))
        except StoreError as error:
            return f"{address} cannot be read: {error.strerror}"
        except DocumentError as error:
            return str(error)
        return None
    try:
        Path(path).expanduser().stat()
    except (OSError, RuntimeError, ValueError):
        return f"{visible(path)} does not exist"
    return None


def load_configured(
    database: Database, settings: Settings, *, on_progress: Callable[[int], None] = lambda _: None
) -> ConfiguredLoad:
    """Make the table hold what is in the folders and files of the settings.

    A path that is not there, and a URL where nothing can be had, is named in the outcome, and nothing of what was
    loaded from it is removed.

    Args:
        database: where they go.
        settings: which ones, and how.
        on_progress: called with the number of chunks stored since the last call.

    Raises:
        ConfigurationError: the table is one that somebody else fills, or there is no such encoding.
        DocumentError: two of the folders have the same name, a folder is another one than was loaded by that name, or
            a file is of a kind that is not read; nothing was loaded.
    """
    config = settings.loading
    options = configured_options(config)
    faults = {path: find_fault(path) for path in config.paths}
    loaded = ConfiguredLoad(missing=tuple(fault for fault in faults.values() if fault is not None))
    there = [path for path, fault in faults.items() if fault is None]
    if there:
        roots = find_roots(database, there, None)
        loaded.collections = tuple(sorted({root.collection.name for root in roots}))
        splitter = configured_splitter(settings, database)
        loaded.report = load_files(database, roots, splitter, options, on_progress=on_progress, on_reject=loaded.reject)
    return loaded
