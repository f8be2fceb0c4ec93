"""Adopt a table that an application fills, embed what it holds, and follow its edits.

Writes a table knowledge_base into the database of EMBEDDING_DATABASE_URL. Run:

    EMBEDDING_DATABASE_URL=postgresql://user:password@host/database python examples/adopt_table.py
"""

import hashlib
import os

import psycopg

from embedding_assets import embed_pending, search

URL = os.environ["EMBEDDING_DATABASE_URL"]

ANSWERS = {
    "reset-password": "Open the account page and choose Reset password. A link arrives by mail within a minute.",
    "export-data": "All records can be exported as CSV from the settings page, by an administrator.",
    "delete-account": "An account is deleted thirty days after its owner asks for it; until then it can be restored.",
}


def insert_answers() -> None:
    """As an application would that knows nothing of embeddings: a key of lowercase hex, and a text."""
    with psycopg.connect(URL) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS knowledge_base (chunk_hash text PRIMARY KEY, chunk_text text NOT NULL)"
        )
        connection.cursor().executemany(
            "INSERT INTO knowledge_base (chunk_hash, chunk_text) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [(hashlib.sha256(name.encode()).hexdigest(), text) for name, text in ANSWERS.items()],
        )


def edit_answer(name: str, text: str) -> None:
    """An edit takes the vector away, so that the text is embedded again."""
    with psycopg.connect(URL) as connection:
        key = hashlib.sha256(name.encode()).hexdigest()
        connection.execute("UPDATE knowledge_base SET chunk_text = %s WHERE chunk_hash = %s", [text, key])


def main() -> None:
    insert_answers()
    print("embedded:", embed_pending().stats.embedded)
    print("found:", search("How do I get my records out?", k=1)[0].text)

    edit_answer("export-data", "Records are exported as Parquet, from the page of each project.")
    print("embedded again:", embed_pending().stats.embedded)
    print("found:", search("How do I get my records out?", k=1)[0].text)


if __name__ == "__main__":
    main()
