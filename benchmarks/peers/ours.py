"""This package's local provider, with its own plan of batches."""

from __future__ import annotations

import numpy as np

from embedding_assets.config import get_settings
from embedding_assets.providers.space_selection import create_provider
from peers.encoding import Encode, Job, serve_encoding


def load(job: Job) -> Encode:
    settings = get_settings().with_embedding(model_name=job.model, device=job.device)
    provider = create_provider(settings)
    provider.load()

    def encode(texts: list[str], _batch_size: int) -> np.ndarray:
        vectors = np.full((len(texts), provider.space.dimensions), np.nan, dtype=np.float32)
        for batch in provider.embed(texts):
            vectors[batch.indices] = batch.vectors
        return vectors

    return encode


if __name__ == "__main__":
    serve_encoding(load, "torch")
