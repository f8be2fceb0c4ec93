"""Short texts by the hundred thousand, and their vectors: what the docstrings of this environment's packages say."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from semantic_text_splitter import TextSplitter

SHORTEST_CHARACTERS = 40


def short_texts(count: int) -> list[str]:
    """Different sentences and short paragraphs, some 85 characters each; the same environment gives the same ones.

    Raises:
        ValueError: its packages have fewer.
    """
    splitter = TextSplitter((60, 160))
    pieces = (piece for text in _docstrings() for piece in splitter.chunks(text) if len(piece) >= SHORTEST_CHARACTERS)
    # PostgreSQL holds no NUL.
    texts = [text.replace("\0", " ") for text in islice(_distinct(pieces), count)]
    if len(texts) < count:
        raise ValueError(f"the installed packages' docstrings make {len(texts)} texts, {count} were asked for")
    return texts


def embedded_texts(count: int, folder: Path) -> NDArray[np.float32]:
    """Their unit vectors by the demo model, shape (count, 768), in an order without meaning; kept in ``folder``."""
    file = folder / f"vectors-{count}.npy"
    if not file.exists():
        vectors = _embed(short_texts(count), folder)
        np.save(file, vectors[np.random.default_rng(0).permutation(count)])
    vectors: NDArray[np.float32] = np.load(file)
    return vectors


def _docstrings() -> Iterator[str]:
    """Of all modules of the standard library and the installed packages; sources are parsed, never imported."""
    warnings.simplefilter("ignore", SyntaxWarning)
    installed, own = (Path(sysconfig.get_path(name)) for name in ("purelib", "stdlib"))
    for path in (*sorted(installed.rglob("*.py")), *sorted(own.rglob("*.py"))):
        if {"test", "tests"} & {*path.parts}:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # templates, and what is written for another Python
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def _distinct(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _embed(texts: list[str], folder: Path) -> NDArray[np.float32]:
    from embedding_assets.config import EmbeddingConfig
    from embedding_assets.encoder import demo_model
    from embedding_assets.encoder.files import locate_model
    from embedding_assets.providers.local import LocalProvider

    files = locate_model(demo_model.NAME, None, data_dir=folder / "model", timeout_seconds=5)
    config = EmbeddingConfig(model_name=demo_model.NAME, device="cpu")
    vectors = np.empty((len(texts), config.dimensions), np.float32)
    # By windows, as a run does: all at once would be held in memory beside each other.
    for start in range(0, len(texts), config.window_size):
        window = texts[start : start + config.window_size]
        for batch in LocalProvider(files, config).embed(window):
            vectors[np.array(batch.indices) + start] = batch.vectors
    return vectors
