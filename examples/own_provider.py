"""Embed and search with a provider of one's own: words hashed into 256 dimensions.

Works in a folder of its own, with the embedded PostgreSQL. `load` splits documents with a local model's tokenizer:
where the default one cannot be had, set EMBEDDING_MODEL_NAME. Run: python examples/own_provider.py
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

os.environ.setdefault("EMBEDDING_DATA_DIR", f"{tempfile.gettempdir()}/embedding_assets_own_provider")

from embedding_assets import (
    EmbeddedBatch,
    EmbeddingProvider,
    VectorSpace,
    embed_pending,
    search,
)

DOCUMENTS = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


class HashedWords(EmbeddingProvider):
    """Texts are near to each other if they share words."""

    # Any change here is another space, with a column and an index of its own.
    space = VectorSpace(
        provider="hashed-words",
        model="blake2b",
        revision="1",
        dimensions=256,
        normalized=True,
        prompt="",
        max_tokens=10_000,
    )
    device = "cpu"
    precision = "float32"
    window_texts = 1

    def load(self) -> float:
        """There is nothing to load."""
        return 0.0

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Iterator[EmbeddedBatch]:  # noqa: ARG002
        """One batch of all texts; a text without words is an error of that text alone."""
        words = [re.findall(r"\w+", text.lower())[: self.space.max_tokens] for text in texts]
        indices = [index for index, found in enumerate(words) if found]
        yield EmbeddedBatch(
            indices=indices,
            vectors=np.array([self._vector(words[index]) for index in indices], dtype=np.float32),
            token_counts=[len(words[index]) for index in indices],
            truncated=[len(words[index]) == self.space.max_tokens for index in indices],
            errors={index: "no_words" for index, found in enumerate(words) if not found},
        )

    def _vector(self, words: list[str]) -> np.ndarray:
        vector = np.zeros(self.space.dimensions)
        for word in words:
            digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
            vector[digest % len(vector)] += 1 if digest >> 63 else -1
        length = np.linalg.norm(vector)
        return vector / length if length else vector  # checked, and recorded as zero_vector


def main() -> None:
    subprocess.run([Path(sys.executable).with_name("embedding-assets"), "load", *DOCUMENTS], check=True)  # noqa: S603
    provider = HashedWords()
    print("embedded:", embed_pending(provider=provider).stats.embedded)
    for result in search("webhook of Slack", k=3, provider=provider):
        print(f"{result.score:.3f} {result.title} ({Path(result.source).name})")


if __name__ == "__main__":
    main()
