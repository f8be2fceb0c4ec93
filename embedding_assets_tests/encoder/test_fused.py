"""Fused layers against the library's own."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from embedding_assets.encoder import fused as fused_module
from embedding_assets.encoder.fused import FusedTransformer, fuse

SIZES = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 66,
}
LENGTHS = (48, 31, 7, 1)


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


def fused(model: Any, dtype: torch.dtype = torch.float32) -> FusedTransformer:
    layers = fuse(model, dtype, "cpu")
    assert layers is not None
    return layers


needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU does not compute in bfloat16"
)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [("bert", {}), ("roberta", {}), ("mpnet", {}), ("bert", {"hidden_act": "relu"}), ("mpnet", {"hidden_act": "silu"})],
)
def test_states_are_the_librarys(kind: str, changes: dict[str, str], packed: bool):
    model = make(kind, **changes)
    with torch.inference_mode():
        layers = FusedTransformer(model, torch.float32, packed=packed, after_layer=lambda: None)

    expected, states = run(model, layers)

    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


@needs_bfloat16
@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_bfloat16_differs_by_rounding(kind: str):
    model = make(kind)

    expected, states = run(model, fused(model, torch.bfloat16))

    assert torch.nn.functional.cosine_similarity(states, expected, dim=-1).min() > 0.999


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_without_padding_there_is_no_mask(kind: str):
    model = make(kind)
    ids, mask = inputs(model.config.pad_token_id)
    ids, mask = ids[:1], mask[:1]
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
        states = fused(model)(ids, mask, padded=False)

    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


def test_the_librarys_model_is_left_as_it_is():
    model = make("mpnet")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = []

    fuse(model, torch.float32, "cpu", after_layer=lambda: seen.append(1))

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len(seen) == 2 * 3, "after each layer's probe, and after each layer's copy"


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    backwards = fused_module._RelativeBias.forward
    monkeypatch.setattr(fused_module._RelativeBias, "forward", lambda self, n: backwards(self, n).transpose(-1, -2))

    assert fuse(make("mpnet"), torch.float32, "cpu") is None
    assert "fused mpnet differs from the library's result" in caplog.text


def test_nan_is_a_difference(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    nothing = torch.full((3, 40, 64), torch.nan)
    monkeypatch.setattr(FusedTransformer, "forward", lambda self, ids, mask, padded: nothing)

    assert fuse(make("bert"), torch.float32, "cpu") is None
    assert "cosine nan" in caplog.text


def test_what_cannot_be_fused_is_left_to_the_library(caplog: pytest.LogCaptureFixture):
    model = make("bert")
    del model.encoder.layer[1].intermediate

    model.forward = lambda **_: type("Output", (), {"last_hidden_state": torch.zeros(3, 40, 64)})
    assert fuse(model, torch.float32, "cpu") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "bert could not be fused (AttributeError" in caplog.text


def test_another_architecture_is_not_fused(caplog: pytest.LogCaptureFixture):
    model = DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, hidden_dim=64, n_layers=1, n_heads=2))

    assert fuse(model, torch.float32, "cpu") is None
    assert not caplog.records


def test_fewer_positions_than_the_probe_has_tokens(tmp_path: Path):
    model = make("roberta", max_position_embeddings=12)
    assert fuse(model, torch.float32, "cpu") is not None
