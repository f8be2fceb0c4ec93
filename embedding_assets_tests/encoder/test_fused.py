"""Fused layers against the library's own."""

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from embedding_assets.encoder.attention import Attend, attend_by_products, attend_fused
from embedding_assets.encoder.fused import FusedTransformer, Products, _height, fuse
from embedding_assets_tests.support.rounding import needs_int8

SIZES = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 66,
}
LENGTHS = (48, 31, 31, 7, 1, 0)


def make(kind: str, **changes: Any) -> Any:
    """A model with random weights, large enough for every part to show in what comes out."""
    torch.manual_seed(3)
    config, model = {
        "bert": (BertConfig, BertModel),
        "roberta": (RobertaConfig, RobertaModel),
        "mpnet": (MPNetConfig, MPNetModel),
    }[kind]
    made = model(config(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" not in name.lower():
                parameter.copy_(torch.randn_like(parameter) * 0.2)
        if kind == "mpnet":
            made.encoder.relative_attention_bias.weight.mul_(10)
    return made


def inputs(pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.tensor([[int(position < length) for position in range(LENGTHS[0])] for length in LENGTHS])
    ids = torch.randint(5, 99, mask.shape, generator=torch.Generator().manual_seed(1))
    return torch.where(mask == 1, ids, pad_id), mask


def run(model: Any, layers: FusedTransformer) -> tuple[torch.Tensor, torch.Tensor]:
    """States of all real tokens: the library's and ours."""
    ids, mask = inputs(model.config.pad_token_id)
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return expected[mask == 1], layers(ids, mask, padded=True)[mask == 1].float()


needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU does not compute in bfloat16"
)


@pytest.mark.parametrize("attend", [attend_fused, attend_by_products, None])
@pytest.mark.parametrize("products", ["packed", "plain"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [("bert", {}), ("roberta", {}), ("mpnet", {}), ("bert", {"hidden_act": "relu"}), ("mpnet", {"hidden_act": "silu"})],
)
def test_states_are_the_librarys(kind: str, changes: dict[str, str], products: Products, attend: Attend | None):
    model = make(kind, **changes)
    with torch.inference_mode():
        layers = FusedTransformer(model, torch.float32, products=products, attend=attend, after_layer=lambda: None)

    expected, states = run(model, layers)

    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


@needs_bfloat16
@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_bfloat16_differs_by_rounding(kind: str):
    model = make(kind)

    expected, states = run(model, fuse(model, torch.bfloat16, "cpu"))

    assert torch.nn.functional.cosine_similarity(states, expected, dim=-1).min() > 0.999


@needs_int8
@pytest.mark.parametrize(
    ("kind", "changes"), [("bert", {}), ("roberta", {}), ("mpnet", {}), ("bert", {"hidden_act": "relu"})]
)
def test_int8_differs_by_more(kind: str, changes: dict[str, str]):
    model = make(kind, **changes)

    expected, states = run(model, fuse(model, torch.int8, "cpu"))

    assert 0.99 < torch.nn.functional.cosine_similarity(states, expected, dim=-1).min() < 0.99999


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_without_padding_there_is_no_mask(kind: str):
    model = make(kind)
    ids, mask = inputs(model.config.pad_token_id)
    ids, mask = ids[:1], mask[:1]
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
        states = fuse(model, torch.float32, "cpu")(ids, mask, padded=False)

    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


def test_texts_without_tokens_have_no_states():
    model = make("bert")
    nothing = torch.zeros(2, 0, dtype=torch.long)
    assert fuse(model, torch.float32, "cpu")(nothing, nothing, padded=False).shape == (2, 0, 64)


def test_matrices_have_few_heights():
    heights = {tokens: _height(tokens) for tokens in range(1, 2049)}
    assert all(0 <= height - tokens < (16 if tokens <= 128 else 64) for tokens, height in heights.items())
    assert len(set(heights.values())) == 38


def test_the_librarys_model_is_left_as_it_is():
    model = make("mpnet")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []

    fuse(model, torch.float32, "cpu", after_layer=lambda: seen.append(1))

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len(seen) == 3, "after each layer's copy"
