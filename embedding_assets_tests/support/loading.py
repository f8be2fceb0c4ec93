"""Folders of a test that are loaded, and what is in the table then."""

from __future__ import annotations

from pathlib import Path

from embedding_assets.config import Settings
from embedding_assets.documents.file_loading import LoadOptions, load_files
from embedding_assets.documents.formats.options import ReadOptions
from embedding_assets.documents.ignoring import Choice
from embedding_assets.documents.loading import LoadReport
from embedding_assets.documents.rejection import Rejection
from embedding_assets.documents.roots import find_roots
from embedding_assets.documents.splitting import Splitter
from embedding_assets.documents.standard_input import SpooledInput
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support.fakes import FakeProvider


class Loader:
    """Loads into the table of a test; remembers what was rejected, and which texts were embedded."""

    def __init__(self, settings: Settings, database: Database, splitter: Splitter) -> None:
        self.settings = settings
        self.database = database
        self.splitter = splitter
        self.rejections: list[str] = []

    def __call__(
        self,
        *paths: Path | str,
        collection: str | None = None,
        choice: Choice | None = None,
        read: ReadOptions | None = None,
        prune: bool = False,
        yes: bool = False,
        accept_rejected: bool = False,
        standard_input: SpooledInput | None = None,
    ) -> LoadReport:
        rejections: list[Rejection] = []
        options = LoadOptions(read or ReadOptions(), choice or Choice(), prune, yes, accept_rejected)
        roots = find_roots(self.database, [str(path) for path in paths], collection, standard_input)
        report = load_files(self.database, roots, self.splitter, options, on_reject=rejections.append)
        self.rejections = [str(rejection) for rejection in rejections]
        return report

    def embed(self) -> list[str]:
        """Embed what is pending; returns the texts that a model has read."""
        provider = FakeProvider()
        EmbeddingGenerator(self.settings, database=self.database, provider=provider).generate_embeddings_batch()
        return provider.seen

    def rows(self, what: str = "chunk_text", where: str = "true") -> list:
        """A column of the chunks, by document and position."""
        query = f"SELECT {what} FROM knowledge_base WHERE {where} ORDER BY document_metadata ->> 'origin', chunk_index"
        return [row[0] for row in self.database.run(lambda connection: connection.execute(query).fetchall())]

    def origins(self) -> list[str]:
        """Of all recorded documents."""
        query = 'SELECT origin FROM loaded_documents ORDER BY origin COLLATE "C"'
        return [row[0] for row in self.database.run(lambda connection: connection.execute(query).fetchall())]

    def pending(self) -> list[str]:
        """Texts without a vector."""
        return self.rows(where="embedding IS NULL")


def write(folder: Path, **files: str) -> Path:
    """Files of a folder, by their stems, as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.md").write_text(text)
    return folder
