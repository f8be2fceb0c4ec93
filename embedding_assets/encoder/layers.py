"""The layers of a sentence-transformers model, put together without importing that package.

Importing it brings its training code with it: some 120 MB and several seconds in every process. Models whose layers are
all known here, which most are, need none of that; the others are computed by the package itself (encoder/package.py).
File formats: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from embedding_assets.encoder.allocator import MappedPages
from embedding_assets.encoder.files import ModelFiles, is_about_sentences, pooling_modes, read_json
from embedding_assets.encoder.fused import FusedTransformer
from embedding_assets.encoder.loading import checked_loading
from embedding_assets.encoder.skeleton import build_skeleton
from embedding_assets.encoder.tokens import FastTokens, Role, TokenizedText, Tokens

# Encoders that AutoModel loads as they are; others, such as T5, want only a part of what it would load.
_ENCODERS: Final = {"albert", "bert", "camembert", "distilbert", "electra", "modernbert", "mpnet", "roberta",
                    "xlm-roberta"}  # fmt: skip
_POOLING_MODES: Final = {"mean", "cls", "max"}
_POOLING_KEYS: Final = {"word_embedding_dimension", "embedding_dimension", "include_prompt"}
_NAMES_OF_FEATURES: Final = {"module_input_name", "module_output_name"}
_PLAIN: Final[dict[str, Any]] = {
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
    "processing_kwargs": {},
    "unpad_inputs": None,
    "query_length": None,
    "document_length": None,
    "query_expansion": None,
}
"""What a transformer's own settings say that changes nothing; their limit of tokens is read with the files."""


class Layers(nn.Module):
    """From texts to tokens, and from token ids to vectors.

    Args:
        tokens: the model's tokenizer, with its limit.
        pad_id: the token that fills up shorter texts of a batch.
    """

    def __init__(self, tokens: Tokens, pad_id: int) -> None:
        super().__init__()
        self.pad_id = pad_id
        self._tokens = tokens

    def tokenize(self, texts: Sequence[str], role: Role) -> list[TokenizedText]:
        """Tokens of each text behind its prompt, cut to the model's input length."""
        return self._tokens.of(texts, role)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, padded: bool, role: Role) -> Tensor:
        """Vectors, shape (texts, dimensions), of token ids and mask, both of shape (texts, tokens).

        Args:
            input_ids: token ids.
            attention_mask: 0 at padding.
            padded: whether there is any.
            role: in which the texts were tokenized.
        """
        raise NotImplementedError


class KnownLayers(Layers):
    """A transformer, or a table of embeddings, and the layers behind it."""

    def __init__(self, transformer: nn.Module, layers: list[nn.Module], tokens: Tokens, pad_id: int) -> None:
        super().__init__(tokens, pad_id)
        self._transformer = transformer
        self._pooling, *rest = layers
        self._rest = nn.Sequential(*rest)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        padded: bool,
        role: Role,  # noqa: ARG002
    ) -> Tensor:
        if isinstance(self._transformer, FusedTransformer):
            states = self._transformer(input_ids, attention_mask, padded=padded)
        elif isinstance(self._transformer, nn.Embedding):
            states = self._transformer(input_ids)
        else:
            states = self._transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self._rest(self._pooling(states.float(), attention_mask))
        return vectors


class _Pooling(nn.Module):
    def __init__(self, modes: list[str]) -> None:
        super().__init__()
        self._modes = modes

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
        parts = []
        for mode in self._modes:
            if mode == "cls":
                parts.append(tokens[:, 0])
            elif mode == "max":
                parts.append(tokens.masked_fill(mask == 0, float("-inf")).amax(dim=1))
            else:
                parts.append((tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9))
        return torch.cat(parts, dim=1)


class _Normalize(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, p=2, dim=1)


def has_known_layers(files: ModelFiles) -> bool:
    """True if all layers of a model are known here, by its configuration files, and its tokenizer is one file."""
    (first, folder), *rest = files.modules
    if not _is_whole_tokenizer(folder):
        return False
    if first == "StaticEmbedding":
        return all(_is_known(kind, layer) for kind, layer in rest)
    return (
        first == "Transformer"
        and bool(rest)
        and rest[0][0] == "Pooling"
        and _is_plain_encoder(folder, files.sentence_config)
        and all(_is_known(kind, layer) for kind, layer in rest)
    )


def load_known_layers(files: ModelFiles, max_tokens: int, transformer: nn.Module) -> KnownLayers:
    """The layers of a model around its transformer, which alone may compute in less than float32."""
    (first, folder), *rest = files.modules
    layers = [_build_layer(kind, layer) for kind, layer in rest]
    tokenizer = files.tokenizer()
    if first == "StaticEmbedding":
        layers = [_Pooling(["mean"]), *layers]
        tokenizer = _without_special_tokens(tokenizer)
    pad_id = read_json(folder / "config.json").get("pad_token_id")
    return KnownLayers(transformer, layers, FastTokens(tokenizer, max_tokens), int(pad_id or 0))


def load_transformer(files: ModelFiles) -> nn.Module:
    """A model's first layer as its library has it, in float32 on the CPU.

    Raises:
        ModelUnavailableError: weights are missing or left over.
    """
    (first, folder), *_ = files.modules
    if first == "StaticEmbedding":
        [weights] = load_file(folder / "model.safetensors").values()
        table: nn.Module = nn.Embedding.from_pretrained(weights.float())  # type: ignore[no-untyped-call]
        return table
    from transformers import AutoModel

    with checked_loading(files.name):
        model: nn.Module = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
    return model.eval()


def load_weights(files: ModelFiles) -> Any:
    """What is fused of a model's first layer, read without its library wherever its files ask for nothing unusual.

    Raises:
        ModelUnavailableError: weights are missing or left over.
    """
    return build_skeleton(files.transformer) or load_transformer(files)


def mapped_pages(files: ModelFiles, transformer: Any) -> MappedPages:
    """The pages that a transformer's weights are mapped from: once a layer is copied, they only count as memory."""
    return MappedPages(files.transformer, (weight.data_ptr() for weight in transformer.parameters()))


def model_type(files: ModelFiles) -> str:
    """The transformer's architecture; empty if there is none."""
    return str(read_json(files.transformer / "config.json").get("model_type", ""))


def _is_plain_encoder(path: Path, settings: dict[str, Any]) -> bool:
    config = read_json(path / "config.json")
    others = {name: value for name, value in settings.items() if name != "max_seq_length"}
    return (
        config.get("model_type") in _ENCODERS
        and "auto_map" not in config
        and all(name in _PLAIN and value in (None, _PLAIN[name]) for name, value in others.items())
    )


def _is_whole_tokenizer(folder: Path) -> bool:
    """True unless other files add tokens to those of tokenizer.json, or describe them otherwise."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return False
    own = {token["content"]: token for token in read_json(file).get("added_tokens", [])}
    config, special = read_json(folder / "tokenizer_config.json"), read_json(folder / "special_tokens_map.json")
    described = list(config.get("added_tokens_decoder", {}).values())
    for settings in (config, special):
        described += [value for name, value in settings.items() if name.endswith("_token") and value is not None]
        for several in ("additional_special_tokens", "extra_special_tokens"):
            value = settings.get(several) or []
            described += list(value.values()) if isinstance(value, dict) else value
    described += list(read_json(folder / "added_tokens.json"))
    return all(_is_described(token, own) for token in described if not isinstance(token, bool))


def _is_described(token: str | dict[str, Any], own: dict[str, dict[str, Any]]) -> bool:
    if isinstance(token, str):
        return token in own
    known = own.get(token.get("content", ""))
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    return known is not None and all(known.get(name) == token[name] for name in flags if name in token)


def _without_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    state = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**state, "post_processor": None}))


def _is_known(kind: str, folder: Path) -> bool:
    config = read_json(folder / "config.json")
    if not is_about_sentences(folder):
        return False
    if kind == "Pooling":
        unknown = {name for name in config if not name.startswith("pooling_mode")} - _POOLING_KEYS
        return not unknown and set(pooling_modes(config)) <= _POOLING_MODES and bool(config.get("include_prompt", True))
    if kind == "Dense":
        known = {"in_features", "out_features", "bias", "activation_function"} | _NAMES_OF_FEATURES
        return not set(config) - known and _activation(config) is not None
    return kind == "Normalize" and not set(config) - _NAMES_OF_FEATURES


def _build_layer(kind: str, folder: Path) -> nn.Module:
    config = read_json(folder / "config.json")
    if kind == "Pooling":
        return _Pooling(pooling_modes(config))
    return _build_dense(config, folder) if kind == "Dense" else _Normalize()


def _build_dense(config: dict[str, Any], folder: Path) -> nn.Module:
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    weights = load_file(folder / "model.safetensors")
    linear.load_state_dict({name.removeprefix("linear."): tensor.float() for name, tensor in weights.items()})
    return nn.Sequential(linear, _activation(config)())


def _activation(config: dict[str, Any]) -> Any:
    """The class of a dense layer's activation; None if it is not one of torch's own."""
    name = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    return getattr(nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.modules.") else None
