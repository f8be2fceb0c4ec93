"""Searches as tests ask them."""

import random
from typing import Any

from embedding_assets.postgres.search import FoundChunk, find_chunks


def nearest_chunks(database, column, vector, *, k, where, index, missing_in=None) -> list[tuple[Any, ...]]:
    """The chunks nearest to a vector: (hash, source, text, header, metadata, distance)."""
    found = find_chunks(
        database, column=column, vector=vector, words=None, limit=k, where=where, index=index, missing_in=missing_in
    )
    return [
        (chunk.chunk_hash, chunk.source, chunk.text, chunk.header, chunk.metadata, chunk.distance)
        for chunk in found.chunks
    ]


def found_chunk(chunk_hash: str, **fields: object) -> FoundChunk:
    """A chunk as a search finds it, of which only what is given is known."""
    unknown = {
        "key": {"chunk_hash": chunk_hash}, "source": "", "text": "", "header": "", "metadata": {}, "distance": None,
        "vector_rank": None, "text_rank": None, "holds_all_words": False,
    }  # fmt: skip
    return FoundChunk(chunk_hash, **{**unknown, **fields})


def identifiers(count: int) -> list[str]:
    """Of many shapes, from few letters and digits, so that many share their parts."""
    chance = random.Random(7)

    def letters(least: int, most: int) -> str:
        return "".join(chance.choices("ABCDEX", k=chance.randint(least, most)))

    def digits(least: int, most: int) -> str:
        return "".join(chance.choices("0123456789", k=chance.randint(least, most)))

    shapes = [
        lambda: f"ERR-4{digits(4, 4)}",
        lambda: f"{letters(2, 2)}-{digits(4, 4)}-{letters(1, 1)}",
        lambda: f"{letters(1, 1)}{digits(3, 3)}-{digits(4, 4)}-{digits(4, 4)}",
        lambda: f"v{digits(1, 1)}.{digits(1, 2)}.{digits(1, 2)}",
        lambda: f"CVE-202{digits(1, 1)}-{digits(4, 5)}",
        lambda: f"foo_{letters(3, 3).lower()}.baz{digits(1, 1)}",
        lambda: f"{letters(2, 4)}{digits(3, 6)}",
        lambda: f"{digits(3, 3)}/{digits(3, 3)}-{letters(1, 2)}",
        lambda: f"pkg.mod_{letters(2, 3)}::{letters(3, 4).lower()}",
        lambda: f"#{digits(5, 5)}",
        lambda: f"{digits(2, 2)}.{digits(4, 4)}/j.{letters(2, 3).lower()}.{digits(3, 3)}",
        lambda: f"user{digits(3, 3)}@{letters(3, 3).lower()}.example",
        lambda: f"0x{''.join(chance.choices('0123456789abcdef', k=8))}",
        lambda: f"https://{letters(3, 3).lower()}.example/{digits(3, 3)}?x={digits(2, 2)}&y={letters(1, 1)}",
        lambda: f"List<{letters(4, 6)}>",
        lambda: f"C:\\{letters(3, 3)}\\{digits(4, 4)}.dll",
    ]
    found: dict[str, None] = {}
    while len(found) < count:
        found[shapes[len(found) % len(shapes)]()] = None
    return list(found)
