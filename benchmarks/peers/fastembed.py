"""fastembed on the ONNX file that the ONNX backend exported, i.e. on the same weights."""

from __future__ import annotations

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

from peers.encoding import Encode, Job, serve_encoding

NAME = "local/mpnet"


def load(job: Job) -> Encode:
    TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=NAME),  # never asked: the folder is given below
        dim=768,
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding(NAME, cache_dir=job.model, specific_model_path=job.model, local_files_only=True)
    return lambda texts, batch_size: np.stack(list(model.embed(texts, batch_size=batch_size)))


if __name__ == "__main__":
    serve_encoding(load, "fastembed", "onnxruntime")
