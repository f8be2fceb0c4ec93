"""Texts to encode, and vectors to compare."""

import random
import sysconfig
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedding_assets.config import EmbeddingConfig
from embedding_assets.encoder.files import ModelFiles, locate_model
from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.precision import Precision
from embedding_assets.encoder.ways import ways
from embedding_assets.providers.local import LocalProvider
from embedding_assets_tests.support.tiny_model import DIMENSIONS

ODD_TEXTS = [
    ".",
    " leading and trailing \n",
    "\t",
    "MiXeD cAsE",
    "naïve café, ﬁne ligature, e\u0301",
    "東京は日本の首都です。",
    "مرحبا بالعالم",
    "😀 👩‍👩‍👧‍👦 🇩🇪",
    "a\u200bzero\u200dwidth",
    "[CLS] special [SEP] tokens [PAD]",
    "x" * 5000,
    "é" * 3000,
    " ".join(f"word{number}" for number in range(10_000)),
    "line\n" * 3000,
    " " * 20_000 + "after much space",
    ("y" * 20_000 + " ") * 3,
]


def real_texts(count: int) -> list[str]:
    """Slices of the standard library, from a few characters to several thousand."""
    chance = random.Random(11)
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    texts = []
    for _ in range(count):
        content = chance.choice(files).read_text("utf-8", "replace")
        start = chance.randrange(max(1, len(content) - 10))
        texts.append(content[start : start + round(10 ** chance.uniform(0.5, 3.3))])
    return [text for text in texts if text.strip()]


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.einsum("ij,ij->i", left, right) / norms


def loaded(model: ModelFiles | Path, max_tokens: int = 32, precision: Precision = "float32") -> LoadedModel:
    """A model, or that of a folder, in the fastest way, without comparing it."""
    files = model if isinstance(model, ModelFiles) else ModelFiles(model.name, "1", model)
    return LoadedModel(files, "cpu", max_tokens, next(ways(files, "cpu", precision)))


def local_provider(folder: Path, **changes: object) -> LocalProvider:
    files = locate_model(str(folder), None, data_dir=folder, timeout_seconds=1)
    return LocalProvider(files, EmbeddingConfig(**{"dimensions": DIMENSIONS, "device": "cpu", **changes}))


def embedded(
    local: LocalProvider, texts: list[str], *, query: bool = False
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    vectors: dict[int, np.ndarray] = {}
    errors: dict[int, str] = {}
    for batch in local.embed(texts, query=query):
        assert len(batch.indices) == len(batch.vectors) == len(batch.token_counts) == len(batch.truncated)
        vectors |= dict(zip(batch.indices, batch.vectors, strict=True))
        errors |= batch.errors
    return vectors, errors
