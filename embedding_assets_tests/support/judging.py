"""Documents in the table, judged questions about them, and files of such questions."""

import json
from collections.abc import Sequence
from pathlib import Path

from psycopg.types.json import Jsonb

from embedding_assets.config import Settings
from embedding_assets.postgres.connection import Database
from embedding_assets.retrieval import SearchResult
from embedding_assets_tests.support.fakes import FakeProvider, hash_of
from embedding_assets_tests.support.generator_runs import embed

GUIDE = (
    ("docs/guide.md", "Guide > Install > Linux", "unpack the archive and run the zebra installer"),
    ("docs/guide.md", "Guide > Install > Windows", "double click the giraffe package"),
    ("docs/guide.md", "Guide > Remove", "run the elephant command"),
    ("docs/faq.md", "FAQ > Billing", "an invoice is sent by the walrus each month"),
)


def insert_documents(database: Database, rows: Sequence[tuple[str, str, str]] = GUIDE, **metadata: object) -> None:
    """Chunks: source, header and text of each."""

    def work(connection) -> None:
        for source, header, text in rows:
            connection.execute(
                "INSERT INTO knowledge_base (chunk_hash, chunk_text, context_header, document_metadata) "
                "VALUES (%s, %s, %s, %s)",
                [hash_of(source + header + text), text, header, Jsonb({"source": source, **metadata})],
            )

    database.run(work)


def fill(settings: Settings, database: Database, rows: Sequence[tuple[str, str, str]] = GUIDE) -> None:
    """The same, embedded by the fake provider."""
    insert_documents(database, rows)
    embed(settings, database, FakeProvider())


def result(source: str, header: str = "", text: str = "text", **changes: object) -> SearchResult:
    """A search's result."""
    given = {"chunk_hash": hash_of(source + header + text), "score": 0.5, "title": "", "metadata": {}, "space": "s"}
    return SearchResult(**{**given, "source": source, "context_header": header, "text": text, **changes})


def write_questions(path: Path, *lines: object) -> Path:
    """Lines of JSON; a text stays as it is."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


QUESTIONS = (
    {"id": "linux", "query": "zebra installer", "relevant": [{"source": "docs/guide.md", "heading": "Linux"}]},
    {"id": "remove", "query": "elephant command", "relevant": [{"source": "guide.md", "heading": "Guide > Remove"}]},
    {"id": "billing", "query": "walrus invoice", "relevant": [{"source": "faq.md", "grade": 2}]},
)
