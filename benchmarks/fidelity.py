"""How far vectors are from those of sentence-transformers in float32: the published models, real and awkward texts.

The default model must be cached: `embedding-assets fetch-model`. Run: make bench-fidelity
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from report import Aim, Result, Row, publish
from texts import real_chunks

LIMITS_PPM = {"float32": 100, "bfloat16": 1000}


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
    """Both models in both precisions, and the library itself in bfloat16."""
    import torch
    from sentence_transformers import SentenceTransformer

    from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
    from embedding_assets.encoder import demo_model
    from embedding_assets.encoder.files import locate_model
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
        for precision in ("float32", "bfloat16"):
            vectors = embed(files, texts, precision)
            farthest = distance(vectors, expected)
            rows.append(Row(f"{short}: embedding_assets, {precision}", [farthest], ours=True))
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


def distance(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Of the text whose vector is farthest, in parts per million."""
    pairs = vectors.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(pairs[0], axis=1) * np.linalg.norm(pairs[1], axis=1)
    return float(1e6 * (1 - (pairs[0] * pairs[1]).sum(axis=1) / lengths).max())


if __name__ == "__main__":
    main()
