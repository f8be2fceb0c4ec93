"""The layers of a sentence-transformers model, put together without importing that package.

Importing it brings its training code with it: some 120 MB and several seconds in every process. Models whose layers are
all known here, which most are, need none of that; the others are loaded by the package itself (encoder/model.py).
File formats: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from embedding_assets.encoder.allocator import drop_mapped_pages
from embedding_assets.encoder.files import ModelFiles, is_about_sentences, pooling_modes
from embedding_assets.encoder.fused import FusedTransformer, fuse
from embedding_assets.encoder.loading import check_code, checked_loading
from embedding_assets.encoder.precision import Precision

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Encoders that AutoModel loads as they are; others, such as T5, want only a part of what it would load.
_ENCODERS: Final = {"albert", "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta",
                    "xlm-roberta"}  # fmt: skip
_POOLING_MODES: Final = {"mean", "cls", "max"}
_POOLING_KEYS: Final = {"word_embedding_dimension", "embedding_dimension", "include_prompt"}
_NAMES_OF_FEATURES: Final = {"module_input_name", "module_output_name"}


class Layers(nn.Module):
    """From token ids to vectors.

    Attributes:
        tokenizer: the model's, without truncation or padding.
        pad_id: the token that fills up shorter texts of a batch.
        precision: in which the transformer computes; what follows it computes in float32.
    """

    tokenizer: Tokenizer
    pad_id: int
    precision: Precision

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, padded: bool, prompt_tokens: int) -> Tensor:
        """Vectors, shape (texts, dimensions), of token ids and mask, both of shape (texts, tokens).

        Args:
            input_ids: token ids.
            attention_mask: 0 at padding.
            padded: whether there is any.
            prompt_tokens: tokens of the prompt at the beginning of each text.
        """
        raise NotImplementedError


class _KnownLayers(Layers):
    def __init__(
        self, transformer: nn.Module, layers: list[nn.Module], tokenizer: Tokenizer, pad_id: int, precision: Precision
    ) -> None:
        super().__init__()
        self.tokenizer, self.pad_id, self.precision = tokenizer, pad_id, precision
        self._transformer = transformer
        self._pooling, *rest = layers
        self._rest = nn.Sequential(*rest)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        padded: bool,
        prompt_tokens: int,  # noqa: ARG002
    ) -> Tensor:
        if isinstance(self._transformer, FusedTransformer):
            tokens = self._transformer(input_ids, attention_mask, padded=padded)
        else:
            tokens = self._transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self._rest(self._pooling(tokens.float(), attention_mask))
        return vectors


class _PackageLayers(Layers):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ValueError("it has no fast tokenizer")
        # A copy: truncation is a state of the tokenizer.
        self.tokenizer = Tokenizer.from_str(backend.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.pad_id = int(model.tokenizer.pad_token_id or 0)
        # Which of the package's modules may compute in less is not known here.
        self.precision = "float32"
        self._model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        padded: bool,  # noqa: ARG002
        prompt_tokens: int,
    ) -> Tensor:
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if prompt_tokens:
            # For models whose pooling leaves the prompt out.
            features["prompt_length"] = prompt_tokens
        vectors: Tensor = self._model.forward(features)["sentence_embedding"]
        return vectors


def load_layers(files: ModelFiles, device: str, precision: Precision) -> Layers:
    """The model on a device, in evaluation mode.

    Raises:
        Exception: the files are damaged; the libraries raise whatever they stumble over.
    """
    import transformers

    # A progress bar of its own would tear the command line's.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for kind, folder in files.modules:
        if kind == "Transformer":
            check_code(files.name, folder)
    return (_known_layers(files, device, precision) or _package_layers(files)).eval().to(device)


def _package_layers(files: ModelFiles) -> Layers:
    from sentence_transformers import SentenceTransformer

    with checked_loading(files.name):
        model = SentenceTransformer(
            str(files.path),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            # Else the package computes in whatever format the file has.
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    return _PackageLayers(model)


class _Pooling(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        if self._mode == "cls":
            return tokens[:, 0]
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        if self._mode == "max":
            return tokens.masked_fill(mask == 0, float("-inf")).amax(dim=1)
        return (tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


class _Normalize(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, p=2, dim=1)


def _known_layers(files: ModelFiles, device: str, precision: Precision) -> Layers | None:
    kinds = [kind for kind, _ in files.modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not _is_plain_encoder(files.transformer):
        return None
    layers: list[nn.Module] = []
    for kind, folder in files.modules[1:]:
        layer = _build_layer(kind, folder)
        if layer is None:
            return None
        layers.append(layer)
    pad_id = _read_json(files.transformer / "config.json").get("pad_token_id")
    transformer = _build_transformer(files.name, files.transformer, device, precision)
    if not isinstance(transformer, FusedTransformer) or transformer.dtype == torch.float32:
        precision = "float32"
    return _KnownLayers(transformer, layers, files.tokenizer(), int(pad_id or 0), precision)


def _is_plain_encoder(path: Path) -> bool:
    config, sentence_config = _read_json(path / "config.json"), _read_json(path / "sentence_bert_config.json")
    task = sentence_config.get("transformer_task", "feature-extraction")
    return (
        config.get("model_type") in _ENCODERS
        and "auto_map" not in config
        and task == "feature-extraction"
        and not sentence_config.get("do_lower_case", False)
    )


def _build_transformer(name: str, path: Path, device: str, precision: Precision) -> nn.Module:
    from transformers import AutoModel

    model: nn.Module
    with checked_loading(name):
        model = AutoModel.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    model.eval()
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    # The library maps the weights from their file. Once copied, a layer's pages would only count as memory.
    # What is not fused was not compared either, so it computes in float32.
    for wanted in dict.fromkeys((dtype, torch.float32)):
        fused = fuse(model, wanted, device, after_layer=lambda: drop_mapped_pages(path))
        if fused is not None:
            return fused
    return model


def _build_layer(kind: str, folder: Path) -> nn.Module | None:
    config = _read_json(folder / "config.json")
    if not is_about_sentences(folder):
        return None
    if kind == "Pooling":
        unknown = {name for name in config if not name.startswith("pooling_mode")} - _POOLING_KEYS
        modes = pooling_modes(config)
        known = len(modes) == 1 and modes[0] in _POOLING_MODES and config.get("include_prompt", True)
        return _Pooling(modes[0]) if known and not unknown else None
    if kind == "Dense":
        return _build_dense(config, folder)
    return _Normalize() if kind == "Normalize" and not set(config) - _NAMES_OF_FEATURES else None


def _build_dense(config: dict[str, Any], folder: Path) -> nn.Module | None:
    known = {"in_features", "out_features", "bias", "activation_function"}
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    kind = getattr(nn, activation.rpartition(".")[2], None) if activation.startswith("torch.nn.modules.") else None
    if set(config) - known - _NAMES_OF_FEATURES or kind is None:
        return None
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    weights = load_file(folder / "model.safetensors")
    linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in weights.items()})
    return nn.Sequential(linear, kind())


def _read_json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
