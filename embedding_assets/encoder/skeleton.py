"""A transformer's weights under its library's names, put together from its files without the library.

Importing the library's code of a model takes longer than all the rest of a start. What its files ask for is known here
entirely, or it is left to the library: a setting that is not known to change nothing, a weight that is missing, left
over or of another shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from embedding_assets.encoder.files import read_json
from embedding_assets.encoder.loading import may_be_left
from embedding_assets.encoder.weights import MappedWeights

_MPNET_BUCKETS: Final = 32
_MPNET_DISTANCE: Final = 128
_MPNET_PADDING: Final = 1
"""The library's code has these for every MPNet, whatever its configuration says."""

# The name that the library puts before a model's weights where there is a head for a task beside it.
_PREFIXES: Final = {
    "bert": "bert.",
    "camembert": "roberta.",
    "mpnet": "mpnet.",
    "roberta": "roberta.",
    "xlm-roberta": "roberta.",
}

_BERT_PROJECTIONS: Final = ("self.query", "self.key", "self.value", "output.dense")
_MPNET_PROJECTIONS: Final = ("attn.q", "attn.k", "attn.v", "attn.o")

_PARTS: Final = ("embeddings", "encoder")

_SIZES: Final = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads",
                 "num_hidden_layers", "vocab_size")  # fmt: skip
_FIXED: Final[dict[str, Any]] = {
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
    "relative_attention_num_buckets": _MPNET_BUCKETS,
    "return_dict": True,
    "tie_encoder_decoder": False,
    "torchscript": False,
}
"""Settings that change what is computed, or what comes out, unless they are these."""

_WITHOUT_EFFECT: Final = {
    "_name_or_path", "architectures", "attention_probs_dropout_prob", "bos_token_id", "classifier_dropout",
    "cls_token_id", "directionality", "dtype", "eos_token_id", "finetuning_task", "gradient_checkpointing",
    "hidden_dropout_prob", "id2label", "initializer_factor", "initializer_range", "label2id", "mask_token_id",
    "num_labels", "output_past", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type", "problem_type", "sep_token_id", "task_specific_params",
    "tie_word_embeddings", "tokenizer_class", "torch_dtype", "transformers_version", "unk_token_id", "use_cache",
}  # fmt: skip
"""For training, for other tasks, for the tokenizer, or a note; dropout is off in inference."""

_COMPUTING: Final = {*_SIZES, "hidden_act", "layer_norm_eps", "model_type", "pad_token_id", "type_vocab_size"}


class Skeleton(nn.Module):
    """What ``fuse`` takes of a transformer: its settings, its embeddings and its layers' weights.

    Attributes:
        config: ``model_type``, ``num_attention_heads`` and ``hidden_act``.
        embeddings: from token ids to the first layer's input.
        encoder: ``layer``, and for MPNet the bias of its attention.
    """

    def __init__(self, config: Mapping[str, Any], embeddings: Embeddings, encoder: Encoder) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config)
        self.embeddings = embeddings
        self.encoder = encoder


class Embeddings(nn.Module):
    """Sums of a token's, its position's and its type's vector, normalized.

    Args:
        config: of the transformer.
        weights: of its embeddings, by their names in there.
        padding_idx: the padding token, from behind whose position a text's are counted; None: they begin at 0, and
            padding has positions as well.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor], padding_idx: int | None) -> None:
        super().__init__()
        self.padding_idx = padding_idx
        self.word_embeddings = _table(weights["word_embeddings.weight"])
        self.position_embeddings = _table(weights["position_embeddings.weight"])
        types = weights.get("token_type_embeddings.weight")
        self.token_type_embeddings = None if types is None else _table(types)
        self.LayerNorm = _norm(weights["LayerNorm.weight"], weights["LayerNorm.bias"], config["layer_norm_eps"])

    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """States, shape (texts, tokens, hidden size), of token ids and, unless counted here, their positions."""
        states: Tensor = self.word_embeddings(input_ids)
        if self.token_type_embeddings is not None:
            # All tokens are of the first text of a pair.
            states = states + self.token_type_embeddings.weight[0]
        states = states + self.position_embeddings(self._positions(input_ids) if position_ids is None else position_ids)
        result: Tensor = self.LayerNorm(states)
        return result

    def _positions(self, input_ids: Tensor) -> Tensor:
        if self.padding_idx is None:
            return torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        read = input_ids.ne(self.padding_idx).long()
        return read.cumsum(dim=1) * read + self.padding_idx


class Encoder(nn.Module):
    """Layers by number, each with its linear layers and norms by the library's names.

    Args:
        layers: as said.
        bias: MPNet's table of biases by distance; None in other architectures.
    """

    def __init__(self, layers: list[nn.Module], bias: Tensor | None) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)
        self.relative_attention_bias = None if bias is None else _table(bias)

    @staticmethod
    def relative_position_bucket(distances: Tensor) -> Tensor:
        """Row of the table of biases for each distance between two tokens: near ones have their own, far ones share."""
        half = _MPNET_BUCKETS // 2
        near = half // 2
        sizes = distances.abs()
        growth = torch.log(sizes.float() / near) / math.log(_MPNET_DISTANCE / near) * (half - near)
        far = (near + growth.long()).clamp(max=half - 1)
        return torch.where(distances > 0, half, 0) + torch.where(sizes < near, sizes, far)


def build_skeleton(folder: Path) -> Skeleton | None:
    """The transformer in a folder; None if the library is to read it, or to say what is wrong with it."""
    config = read_json(folder / "config.json")
    if not _is_known(config) or (folder / "adapter_config.json").exists():
        return None
    try:
        weights = MappedWeights(folder)
    except (ValueError, OSError, SafetensorError):
        return None
    prefix = _PREFIXES[config["model_type"]]
    shapes = _shapes(config)
    names = {name: f"{prefix}{name}" if f"{prefix}{name}" in weights.shapes else name for name in shapes}
    fits = all(
        weights.shapes.get(names[name]) == shape and weights.is_number(names[name]) for name, shape in shapes.items()
    )
    others = {name.removeprefix(prefix) for name in weights.shapes.keys() - set(names.values())}
    if not fits or not all(may_be_left(name, _PARTS) for name in others):
        return None
    return _assemble(config, {name: weights.read(names[name]) for name in shapes})


def _is_known(config: Mapping[str, Any]) -> bool:
    """True if all that a configuration says is known here, and nothing is left to the library's defaults."""
    kind = config.get("model_type")
    if kind not in _PREFIXES:
        return False
    padding = config.get("pad_token_id")
    return (
        config.keys() <= _FIXED.keys() | _WITHOUT_EFFECT | _COMPUTING
        and all(config[name] in (None, value) for name, value in _FIXED.items() if name in config)
        and all(_is_count(config.get(name)) for name in _SIZES)
        and config["hidden_size"] % config["num_attention_heads"] == 0
        and isinstance(config.get("hidden_act"), str)
        and isinstance(config.get("layer_norm_eps"), float)
        and (kind == "mpnet" or _is_count(config.get("type_vocab_size")))
        and (kind in ("bert", "mpnet") or (isinstance(padding, int) and padding >= 0))
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of all weights that are computed with, by the library's names."""
    size = config["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], size),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], size),
        "embeddings.LayerNorm.weight": (size,),
        "embeddings.LayerNorm.bias": (size,),
    }
    if config["model_type"] == "mpnet":
        shapes["encoder.relative_attention_bias.weight"] = (_MPNET_BUCKETS, config["num_attention_heads"])
    else:
        shapes["embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], size)
    for number in range(config["num_hidden_layers"]):
        for name, shape in _layer_shapes(config):
            shapes[f"encoder.layer.{number}.{name}.weight"] = shape
            shapes[f"encoder.layer.{number}.{name}.bias"] = shape[:1]
    return shapes


def _layer_shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    size, inner = config["hidden_size"], config["intermediate_size"]
    is_mpnet = config["model_type"] == "mpnet"
    for name in _MPNET_PROJECTIONS if is_mpnet else _BERT_PROJECTIONS:
        yield f"attention.{name}", (size, size)
    yield "attention.LayerNorm" if is_mpnet else "attention.output.LayerNorm", (size,)
    yield "intermediate.dense", (inner, size)
    yield "output.dense", (size, inner)
    yield "output.LayerNorm", (size,)


def _assemble(config: Mapping[str, Any], weights: dict[str, Tensor]) -> Skeleton:
    mpnet = config["model_type"] == "mpnet"
    padding = _MPNET_PADDING if mpnet else None if config["model_type"] == "bert" else config["pad_token_id"]
    names = [name for name, _ in _layer_shapes(config)]
    layers = []
    for number in range(config["num_hidden_layers"]):
        own = _below(f"encoder.layer.{number}.", weights)
        layers.append(_layer(names, own, config["layer_norm_eps"]))
    return Skeleton(
        config,
        Embeddings(config, _below("embeddings.", weights), padding),
        Encoder(layers, weights.get("encoder.relative_attention_bias.weight")),
    )


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _layer(names: list[str], weights: Mapping[str, Tensor], eps: float) -> nn.Module:
    layer = nn.Module()
    for name in names:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        parent = layer
        *path, last = name.split(".")
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, _linear(weight, bias) if weight.ndim == 2 else _norm(weight, bias, eps))
    return layer


def _linear(weight: Tensor, bias: Tensor) -> nn.Module:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = _constant(weight), _constant(bias)
    return linear


def _norm(weight: Tensor, bias: Tensor, eps: float) -> nn.Module:
    norm = nn.LayerNorm(weight.shape, eps=eps, device="meta")
    norm.weight, norm.bias = _constant(weight), _constant(bias)
    return norm


def _table(weight: Tensor) -> nn.Embedding:
    table: nn.Embedding = nn.Embedding.from_pretrained(weight)  # type: ignore[no-untyped-call]
    return table


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
