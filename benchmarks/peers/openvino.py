"""sentence-transformers' OpenVINO backend. ``export FOLDER OUT`` instead of a job converts the model."""

from __future__ import annotations

import sys

from sentence_transformers import SentenceTransformer

from peers.encoding import Encode, Job, serve_encoding


def load(job: Job) -> Encode:
    hint = {"float32": "f32", "bfloat16": "bf16"}[job.precision]
    model = SentenceTransformer(
        job.model,
        backend="openvino",
        device="cpu",
        model_kwargs={"export": False, "ov_config": {"INFERENCE_PRECISION_HINT": hint}},
    )
    return lambda texts, batch_size: model.encode(texts, batch_size=batch_size, show_progress_bar=False)


def export(folder: str, out: str) -> None:
    SentenceTransformer(folder, backend="openvino", device="cpu", model_kwargs={"export": True}).save_pretrained(out)


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(*sys.argv[2:])
    else:
        serve_encoding(load, "sentence-transformers", "optimum-intel", "openvino")
