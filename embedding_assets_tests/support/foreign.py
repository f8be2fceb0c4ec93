"""Tables as other tools make them, and vectors as they would have made them."""

import json
import uuid
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedding_assets.config import Settings
from embedding_assets.providers.base import embed_checked
from embedding_assets.providers.space_selection import create_provider

SUBJECTS = ("The ferry", "A violin", "Our mayor", "The old clock", "Basalt", "This recipe", "Her telescope", "The tram")
VERBS = (
    "leaves for",
    "is made of",
    "has read about",
    "stands before",
    "remembers",
    "costs less than",
    "shows",
    "needs",
)
OBJECTS = ("the northern islands", "spruce and maple", "three kinds of flour", "a valley of stone", "two coins")


def sentences(count: int, start: int = 0) -> list[str]:
    """Texts that mean different things, all different."""
    return [
        f"{SUBJECTS[n % 8]} {VERBS[n // 8 % 8]} {OBJECTS[n % 5]}, as number {n} on the list says."
        for n in range(start, start + count)
    ]


def vectors_of(settings: Settings, texts: Sequence[str]) -> NDArray[np.float32]:
    """What the demo model makes of texts, shape (n, 768)."""
    provider = create_provider(settings)
    vectors = np.empty((len(texts), provider.space.dimensions), dtype=np.float32)
    for batch in embed_checked(provider, texts):
        vectors[batch.indices] = batch.vectors
    return vectors


def other_model(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """As another model of the same length would make them: no two directions stay."""
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((vectors.shape[1], vectors.shape[1])))
    rotated = vectors @ rotation.astype(np.float32)
    return rotated / np.linalg.norm(rotated, axis=1, keepdims=True)


def as_text(vector: NDArray[np.float32]) -> str:
    return json.dumps(vector.tolist())


def make_articles(beside, texts: Sequence[str], vectors: NDArray[np.float32] | None, column: str = "vec") -> None:
    """A table of the user's, whose texts something has embedded."""
    dimensions = 768 if vectors is None else vectors.shape[1]
    beside.execute(
        f"CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text NOT NULL, {column} vector({dimensions}))"
    )
    rows = [
        (number, f"Title {number}", text, None if vectors is None else as_text(vectors[number]))
        for number, text in enumerate(texts)
    ]
    beside.cursor().executemany(f"INSERT INTO articles (id, title, body, {column}) VALUES (%s, %s, %s, %s)", rows)


def make_langchain(
    beside, texts: Sequence[str], vectors: NDArray[np.float32], *, old: bool = False, source: Callable | None = None
) -> None:
    """PGVector's tables with a collection ``library``; ``old`` as they were in langchain-community."""
    key = "uuid uuid PRIMARY KEY" if old else "id varchar PRIMARY KEY"
    extra, kind = (", custom_id varchar", "json") if old else ("", "jsonb")
    beside.execute("CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar, cmetadata json)")
    beside.execute(
        f"CREATE TABLE langchain_pg_embedding ({key}, collection_id uuid REFERENCES langchain_pg_collection (uuid) "
        f"ON DELETE CASCADE, embedding vector, document varchar, cmetadata {kind}{extra})"
    )
    collection = uuid.UUID(int=1)
    beside.execute("INSERT INTO langchain_pg_collection VALUES (%s, 'library', '{}')", [collection])
    insert_langchain(beside, texts, vectors, key="uuid" if old else "id", source=source)


def insert_langchain(
    beside, texts, vectors, *, key: str = "id", start: int = 0, source: Callable | None = None
) -> None:
    for number, text in enumerate(texts, start=start):
        metadata = {"lang": "en", **({"source": source(number), "page": number} if source else {})}
        beside.execute(
            f"INSERT INTO langchain_pg_embedding ({key}, collection_id, embedding, document, cmetadata) "
            "VALUES (%s, %s, %s, %s, %s)",
            [
                uuid.UUID(int=1000 + number) if key == "uuid" else str(uuid.UUID(int=1000 + number)),
                uuid.UUID(int=1),
                as_text(vectors[number - start]),
                text,
                json.dumps(metadata),
            ],
        )


def make_pgai(
    beside,
    texts: Sequence[str],
    embed: Callable[[list[str]], NDArray[np.float32]],
    *,
    template: str = "$chunk",
    embedding: dict | None = None,
    old: bool = False,
    dimensions: int = 768,
) -> None:
    """A table ``blog.posts`` and a vectorizer of it, as pgai keeps them; a text's halves are its chunks."""
    beside.execute("CREATE SCHEMA blog")
    beside.execute("CREATE SCHEMA ai")
    beside.execute("CREATE TABLE blog.posts (id bigint PRIMARY KEY, title text, body text NOT NULL)")
    rows = [(number, f"Title {number}", text) for number, text in enumerate(texts)]
    beside.cursor().executemany("INSERT INTO blog.posts VALUES (%s, %s, %s)", rows)
    beside.execute(
        f"CREATE TABLE blog.posts_embedding_store (embedding_uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        f"id bigint NOT NULL, chunk_seq int NOT NULL, chunk text NOT NULL, embedding vector({dimensions}) NOT NULL, "
        "UNIQUE (id, chunk_seq))"
    )
    beside.execute("CREATE TABLE ai._vectorizer_q_1 (id bigint NOT NULL, queued_at timestamptz DEFAULT now())")
    chunks = []
    for number, title, body in rows:
        middle = body.index(" ", len(body) // 2)
        for place, part in enumerate((body[:middle], body[middle + 1 :])):
            chunks.append((number, place, template.replace("$title", title).replace("$chunk", part)))
    made = embed([chunk for *_, chunk in chunks])
    beside.cursor().executemany(
        "INSERT INTO blog.posts_embedding_store (id, chunk_seq, chunk, embedding) VALUES (%s, %s, %s, %s)",
        [(*chunk, as_text(vector)) for chunk, vector in zip(chunks, made, strict=True)],
    )
    target = {"target_schema": "blog", "target_table": "posts_embedding_store"}
    config = {
        "version": "0.11.0",
        "embedding": embedding or {"implementation": "ollama", "model": "all-minilm", "dimensions": dimensions},
        "chunking": {"implementation": "recursive_character_text_splitter", "chunk_size": 800},
        "formatting": {"implementation": "python_template", "template": template},
        "loading": {"implementation": "column", "column_name": "body"},
        "destination": {"implementation": "table", **target},
    }
    columns = "trigger_name name NOT NULL, queue_schema name, queue_table name, config jsonb NOT NULL"
    if old:
        del config["destination"], config["loading"]
        config["chunking"]["chunk_column"] = "body"
        columns = f"target_schema name, target_table name, view_schema name, view_name name, {columns}"
    else:
        columns += ", disabled boolean NOT NULL DEFAULT false, queue_failed_table name, name name"
    beside.execute(
        "CREATE TABLE ai.vectorizer (id int PRIMARY KEY, source_schema name NOT NULL, source_table name NOT NULL, "
        f"source_pk jsonb NOT NULL, {columns})"
    )
    values = {
        "id": 1,
        "source_schema": "blog",
        "source_table": "posts",
        "source_pk": json.dumps([{"attnum": 1, "pknum": 1, "attname": "id", "typname": "bigint"}]),
        "trigger_name": "_vectorizer_src_trg_1",
        "queue_schema": "ai",
        "queue_table": "_vectorizer_q_1",
        "config": json.dumps(config),
        **({**target, "view_schema": "blog", "view_name": "posts_embedding"} if old else {"name": "posts"}),
    }
    beside.execute(
        f"INSERT INTO ai.vectorizer ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )
