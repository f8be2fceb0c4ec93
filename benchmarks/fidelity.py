"""How far vectors are from those of sentence-transformers in float32: the published models, real and awkward texts.

The default model must be cached: `embedding-assets fetch-model`. Run: make bench-fidelity
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from report import Aim, Result, Row, publish
from texts import real_chunks

if TYPE_CHECKING:
    from embedding_assets.encoder.files import ModelFiles

LIMITS_PPM = {"float32": 100, "bfloat16": 1000, "int8": 20_000}
NEIGHBOURS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=500, help="real chunks to compare, besides the awkward texts")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ea-bench-"))
    # So that every model is compared as if for the first time.
    os.environ["HF_ASSETS_CACHE"] = str(folder)
    try:
        publish(measure(arguments.chunks, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(count: int, folder: Path) -> Result:
    """Both models in all precisions, and the library itself in bfloat16."""
    import torch
    from sentence_transformers import SentenceTransformer

    from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
    from embedding_assets.encoder import demo_model
    from embedding_assets.encoder.files import locate_model
    from embedding_assets.encoder.int8 import products_are_exact
    from embedding_assets.encoder.reference import AWKWARD_TEXTS

    texts = [*AWKWARD_TEXTS, *real_chunks(count)]
    rows: list[Row] = []
    aims: list[Aim] = []
    facts: dict[str, object] = {"awkward texts": len(AWKWARD_TEXTS), "real chunks": count}
    for name, revision in ((DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION), (demo_model.NAME, None)):
        files = locate_model(name, revision, data_dir=folder, timeout_seconds=5)
        short = name.rpartition("/")[2]
        options = {"device": "cpu", "local_files_only": True}
        library = SentenceTransformer(str(files.path), **options)
        library.max_seq_length = files.max_tokens(384)
        expected = library.encode_document(texts)
        for precision in ("float32", "bfloat16", "int8") if products_are_exact() else ("float32", "bfloat16"):
            vectors = embed(files, texts, precision) if precision != "int8" else embed_rounded(files, texts)
            farthest = distance(vectors, expected)
            found = neighbours(expected, expected)
            note = f"neighbours@{NEIGHBOURS} overlap {overlap(neighbours(vectors, vectors), found):.3f}"
            if precision == "int8":
                note += f", of texts that are not rounded {overlap(neighbours(expected, vectors), found):.3f}"
            rows.append(Row(f"{short}: embedding_assets, {precision}", [farthest], note=note, ours=True))
            aims.append(Aim(f"{short} in {precision}, ppm", farthest, LIMITS_PPM[precision], at_most=True))
        rounded = SentenceTransformer(str(files.path), model_kwargs={"dtype": torch.bfloat16}, **options)
        rounded.max_seq_length = library.max_seq_length
        vectors = rounded.encode_document(texts, convert_to_tensor=True).float().numpy()
        rows.append(Row(f"{short}: sentence-transformers, bfloat16", [distance(vectors, expected)]))
    return Result(
        name="fidelity",
        title="Distance from sentence-transformers in float32: the farthest text",
        unit="1 - cosine, ppm",
        rows=rows,
        aims=aims,
        facts=facts,
        lower_is_better=True,
    )


def embed(files: object, texts: list[str], precision: str) -> NDArray[np.float32]:
    """Vectors by the local provider."""
    from embedding_assets.config import EmbeddingConfig
    from embedding_assets.encoder.shared import release_models
    from embedding_assets.providers.local import LocalProvider

    release_models()
    config = EmbeddingConfig(precision=precision, device="cpu")
    vectors = np.empty((len(texts), config.dimensions), dtype=np.float32)
    for batch in LocalProvider(files, config).embed(texts):
        vectors[batch.indices] = batch.vectors
    return vectors


def embed_rounded(files: ModelFiles, texts: list[str]) -> NDArray[np.float32]:
    """Vectors computed in int8, whether or not that is faster here."""
    from embedding_assets.encoder.device import default_batch_texts, default_batch_tokens
    from embedding_assets.encoder.model import LoadedModel
    from embedding_assets.encoder.ways import Way
    from embedding_assets.planning import plan_batches

    model = LoadedModel(files, "cpu", files.max_tokens(384), Way("fused", "int8"))
    tokens = model.tokenize(texts)
    vectors = np.empty((len(texts), model.dimensions), dtype=np.float32)
    for batch in plan_batches(
        [len(text.ids) for text in tokens],
        max_tokens=default_batch_tokens("cpu", "int8"),
        max_texts=default_batch_texts("cpu"),
        width_multiple=model.width_multiple,
    ):
        vectors[batch] = model.encode([tokens[index] for index in batch])
    return vectors


def neighbours(questions: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of the texts nearest to each text by cosine, itself left out; shape (texts, ``NEIGHBOURS``)."""
    left, right = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (questions, among))
    similarities = left @ right.T
    np.fill_diagonal(similarities, -2)
    return np.argsort(-similarities, axis=1)[:, :NEIGHBOURS]


def overlap(found: NDArray[np.int64], expected: NDArray[np.int64]) -> float:
    """The share of expected neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(found, expected, strict=True)]))


def distance(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Of the text whose vector is farthest, in parts per million."""
    pairs = vectors.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(pairs[0], axis=1) * np.linalg.norm(pairs[1], axis=1)
    return float(1e6 * (1 - (pairs[0] * pairs[1]).sum(axis=1) / lengths).max())


if __name__ == "__main__":
    main()
