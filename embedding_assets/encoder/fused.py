"""BERT- and MPNet-shaped transformers in fewer, larger passes over memory than the library's own code makes.

One matrix product for query, key and value; fused attention, for MPNet with its relative position bias as an additive
mask that is built once a batch. On a CPU the tokens of a batch's texts are the rows of one matrix, without padding, and
attention is computed text by text (encoder/attention.py); where that is faster, weights are laid out for oneDNN once
instead of at every call, and GELU is computed while the product is still in cache. Where it is asked for, the products
are of 8-bit integers (encoder/int8.py). What comes out of a model is compared with the library's result when it is
first used (encoder/comparison.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedding_assets.encoder.activations import activation_layer
from embedding_assets.encoder.attention import Attend, attend_padded, fastest_attention, runs_of_equal_length
from embedding_assets.encoder.int8 import Int8Linear
from embedding_assets.encoder.precision import packing_is_faster

# Where the library keeps the projections of a layer's attention, by model type.
_BERT_NAMES: Final = ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
_MPNET_NAMES: Final = ("attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm")
_ATTENTION_NAMES: Final = {
    "bert": _BERT_NAMES,
    "camembert": _BERT_NAMES,
    "mpnet": _MPNET_NAMES,
    "roberta": _BERT_NAMES,
    "xlm-roberta": _BERT_NAMES,
}

Products = Literal["plain", "packed", "int8"]
"""Of which matrices: as they are, laid out for oneDNN, or the same rounded to 8 bits; the last two on a CPU only."""

_LOW: Final = 128
"""Rows up to which a matrix is that of a question or two, for which a few more would be felt."""


class FusedTransformer(nn.Module):
    """The transformer of a sentence-transformers model, for inference.

    Args:
        model: the library's, in float32 on the CPU; its embedding tables are shared, its layers are copied.
        dtype: in which the layers compute; the embeddings before them stay in float32.
        products: of which matrices they are.
        attend: how texts attend where the tokens of a batch are the rows of one matrix; None: they are padded.
        after_layer: called when a layer has been copied.

    Attributes:
        dtype: as given.
    """

    def __init__(
        self,
        model: Any,
        dtype: torch.dtype,
        *,
        products: Products,
        attend: Attend | None,
        after_layer: Callable[[], None],
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self._attend = attend
        self._embeddings = model.embeddings
        self._bias = _RelativeBias(model.encoder, dtype) if model.config.model_type == "mpnet" else None
        self._layers = nn.ModuleList()
        for layer in model.encoder.layer:
            self._layers.append(_Layer(layer, model.config, dtype, products=products))
            after_layer()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, padded: bool) -> Tensor:
        """States of the tokens, shape (texts, tokens, hidden size).

        Args:
            input_ids: shape (texts, tokens).
            attention_mask: the same shape, 0 at padding.
            padded: whether there is any; known to the caller, and asking the device would wait for it.
        """
        states = self._embeddings(input_ids=input_ids).to(self.dtype)
        mask = self._bias(states.shape[1]) if self._bias is not None else None
        if self._attend is not None:
            return self._forward_rows(states, attention_mask, mask, self._attend)
        if padded:
            hidden = (attention_mask == 0)[:, None, None, :]
            base = states.new_zeros(1, 1, states.shape[1], states.shape[1]) if mask is None else mask
            mask = base.masked_fill(hidden, float("-inf"))
        for layer in self._layers:
            states = layer(states, partial(attend_padded, mask=mask))
        result: Tensor = states
        return result

    def _forward_rows(self, states: Tensor, attention_mask: Tensor, bias: Tensor | None, attend: Attend) -> Tensor:
        """The same without computing what is padding; the states there are zero."""
        texts = runs_of_equal_length(attention_mask.sum(dim=1).tolist())
        here = attention_mask.bool()
        if not texts:
            return torch.zeros_like(states)
        rows = states[here]
        tokens = len(rows)
        rows = functional.pad(rows, (0, 0, 0, _height(tokens) - tokens))

        def attend_each(projected: Tensor) -> Tensor:
            attended = attend(projected[:tokens], texts=texts, bias=bias)
            return functional.pad(attended, (0, 0, 0, 0, 0, len(projected) - tokens))

        for layer in self._layers:
            rows = layer(rows, attend_each)
        return torch.zeros_like(states).masked_scatter_(here.unsqueeze(-1), rows[:tokens])


class _Layer(nn.Module):
    def __init__(self, layer: nn.Module, config: Any, dtype: torch.dtype, *, products: Products) -> None:
        super().__init__()
        names = [f"attention.{name}" for name in _ATTENTION_NAMES[config.model_type]]
        *projections, output, norm = [layer.get_submodule(name) for name in names]
        self._heads = config.num_attention_heads
        self._query_key_value = _linear(projections, dtype, products=products)
        self._output = _linear([output], dtype, products=products)
        self._norm = _norm(norm, dtype)
        self._up = _linear(
            [layer.get_submodule("intermediate.dense")], dtype, products=products, activation=config.hidden_act
        )
        self._down = _linear(
            [layer.get_submodule("output.dense")], dtype, products=products, after_gelu=config.hidden_act == "gelu"
        )
        self._final_norm = _norm(layer.get_submodule("output.LayerNorm"), dtype)

    def forward(self, states: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        projected = self._query_key_value(states).unflatten(-1, (3, self._heads, -1))
        attended = attend(projected).flatten(-2)
        states = self._norm(self._output(attended).add_(states))
        result: Tensor = self._final_norm(self._down(self._up(states)).add_(states))
        return result


class _RelativeBias(nn.Module):
    """The term that MPNet adds to the attention scores of two tokens, by their distance."""

    def __init__(self, encoder: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._bucket = encoder.relative_position_bucket
        weights: Tensor = encoder.relative_attention_bias.weight.detach().to(dtype)
        self._weights = nn.Parameter(weights, requires_grad=False)

    def forward(self, tokens: int) -> Tensor:
        """Shape (1, heads, tokens, tokens)."""
        distances = torch.arange(1 - tokens, tokens, device=self._weights.device)
        by_distance = self._weights[self._bucket(distances)].t()
        # Row i looks at distances -i to tokens - 1 - i: windows that move back by one.
        return by_distance.unfold(1, tokens, 1).flip(1).unsqueeze(0)


class _PackedLinear(nn.Module):
    """A linear layer on weights in oneDNN's own layout: the operators that torch.compile's frozen graphs call."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str) -> None:
        super().__init__()
        # Plain attributes: the layout is opaque, so the tensor cannot be moved or saved.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias
        self._activation = activation
        self._fused = torch.ops.mkldnn._linear_pointwise

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self._fused(x, self._weight, self._bias, self._activation, [], "none")
        return result


def _height(tokens: int) -> int:
    """Rows of a matrix for so many tokens.

    One of few: oneDNN generates code for each height that it sees, of some hundred kilobytes, and keeps it.
    """
    step = 16 if tokens <= _LOW else 64
    return -(-tokens // step) * step


def can_be_fused(model_type: str) -> bool:
    """True for the architectures that are known here."""
    return model_type in _ATTENTION_NAMES


def fuse(
    model: Any, dtype: torch.dtype, device: str, *, after_layer: Callable[[], None] = lambda: None
) -> FusedTransformer:
    """The fused counterpart of a transformers model on a device.

    Args:
        model: in float32 on the CPU, of an architecture that can be fused. It is left as it is.
        dtype: in which the fused layers compute; int8: their products, and all else in float32.
        device: torch device.
        after_layer: called whenever a layer's weights have been copied, so that they can be let go.

    Raises:
        Exception: in another version of the libraries names and private operators may have changed.
    """
    on_cpu = device == "cpu"
    products: Products
    if dtype == torch.int8:
        products, dtype = "int8", torch.float32
    else:
        products = "packed" if on_cpu and packing_is_faster(dtype) else "plain"
    with torch.inference_mode():
        fused = FusedTransformer(
            model,
            dtype,
            products=products,
            attend=fastest_attention(dtype) if on_cpu else None,
            after_layer=after_layer,
        )
        return fused.eval().to(device)


def _linear(
    layers: list[nn.Module],
    dtype: torch.dtype,
    *,
    products: Products,
    activation: str | None = None,
    after_gelu: bool = False,
) -> nn.Module:
    """One linear layer whose outputs are those of ``layers`` side by side, and what follows it."""
    weight, bias = (
        # One layer's tensors as they are: in float32 they stay mapped from their file.
        (parts[0] if len(parts) == 1 else torch.cat(parts)).to(dtype)
        for parts in ([layer.weight.detach() for layer in layers], [layer.bias.detach() for layer in layers])  # type: ignore[operator]
    )
    if products == "packed" and activation in (None, "gelu"):
        return _PackedLinear(weight, bias, activation or "none")
    if products == "int8" and activation in (None, "gelu"):
        return Int8Linear(weight, bias, gelu=activation == "gelu", after_gelu=after_gelu)
    linear: nn.Module
    if products == "packed":
        linear = _PackedLinear(weight, bias, "none")
    elif products == "int8":
        linear = Int8Linear(weight, bias)
    else:
        linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
    return linear if activation is None else nn.Sequential(linear, activation_layer(activation))


def _norm(norm: nn.Module, dtype: torch.dtype) -> nn.Module:
    own = nn.LayerNorm(norm.normalized_shape, eps=norm.eps, dtype=dtype)  # type: ignore[arg-type]
    own.load_state_dict(norm.state_dict())
    return own
