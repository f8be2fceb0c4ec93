"""sentence-transformers' ONNX backend. ``export BASE OUT`` instead of a job converts the model.

Its newest release needs a sentence-transformers before 6, which cannot read a folder that 6 wrote. So the model is
built again from BASE, the folder with the transformer alone, whose form has not changed.
"""

from __future__ import annotations

import sys

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from peers.encoding import Encode, Job, serve_encoding


def load(job: Job) -> Encode:
    model = SentenceTransformer(
        job.model, backend="onnx", device="cpu", model_kwargs={"export": False, "provider": "CPUExecutionProvider"}
    )
    return lambda texts, batch_size: model.encode(texts, batch_size=batch_size, show_progress_bar=False)


def export(base: str, out: str) -> None:
    transformer = Transformer(base, max_seq_length=384, backend="onnx", model_kwargs={"export": True})
    SentenceTransformer(modules=[transformer, Pooling(768, "mean"), Normalize()], device="cpu").save_pretrained(out)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(*sys.argv[2:])
    else:
        serve_encoding(load, "sentence-transformers", "optimum-onnx", "onnxruntime")
