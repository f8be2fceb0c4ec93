"""sentence-transformers on torch, as its documentation shows it."""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer

from peers.encoding import Encode, Job, serve_encoding


def load(job: Job) -> Encode:
    model = SentenceTransformer(job.model, device=job.device, model_kwargs={"dtype": getattr(torch, job.precision)})
    return lambda texts, batch_size: model.encode(texts, batch_size=batch_size, show_progress_bar=False)


if __name__ == "__main__":
    serve_encoding(load, "sentence-transformers", "transformers", "torch")
