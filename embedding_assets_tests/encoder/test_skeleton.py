"""Transformers put together from their files compute what their library computes, or are left to it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertForMaskedLM, MPNetForMaskedLM, RobertaForMaskedLM

from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.fused import FusedTransformer, fuse
from embedding_assets.encoder.layers import load_weights
from embedding_assets.encoder.skeleton import Skeleton, build_skeleton
from embedding_assets.errors import ModelUnavailableError
from embedding_assets_tests.support.encoding import loaded

KINDS = ["bert", "camembert", "mpnet", "roberta", "xlm-roberta"]
SIZES = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 300,
    "layer_norm_eps": 1e-3,
}
LENGTHS = (260, 31, 7, 1)
WITH_HEADS = {"bert": BertForMaskedLM, "mpnet": MPNetForMaskedLM, "roberta": RobertaForMaskedLM}


def save(folder: Path, kind: str, make: Callable[[Any], Any] = AutoModel.from_config, **changes: Any) -> Path:
    """A model with random weights, large enough for every part to show in what comes out."""
    torch.manual_seed(3)
    model = make(AutoConfig.for_model(kind, **{**SIZES, "pad_token_id": 1, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return folder


def states(folder: Path, skeleton: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all real tokens: the library's and ours. Some are of the padding token's number."""
    mask = torch.tensor([[int(position < length) for position in range(LENGTHS[0])] for length in LENGTHS])
    ids = torch.randint(0, 99, mask.shape, generator=torch.Generator().manual_seed(1))
    ids = torch.where(mask == 1, ids, 1)
    library = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = library(input_ids=ids, attention_mask=mask).last_hidden_state
        ours = fuse(skeleton, torch.float32, "cpu")(ids, mask, padded=True)
    return expected[mask == 1], ours[mask == 1]


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not ...}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu", "tanh", "gelu_pytorch_tanh", "quick_gelu"])
def test_states_are_the_librarys(kind: str, activation: str, tmp_path: Path):
    folder = save(tmp_path / "model", kind, hidden_act=activation)
    skeleton = build_skeleton(folder)

    assert isinstance(skeleton, Skeleton)
    expected, ours = states(folder, skeleton)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert"])
@pytest.mark.parametrize("padding", [0, 5])
def test_positions_are_counted_from_behind_the_padding_token(kind: str, padding: int, tmp_path: Path):
    folder = save(tmp_path / "model", kind, pad_token_id=padding)

    expected, ours = states(folder, build_skeleton(folder))

    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_mpnet_counts_from_behind_1_whatever_its_configuration_says(tmp_path: Path):
    folder = save(tmp_path / "model", "mpnet", pad_token_id=0)

    expected, ours = states(folder, build_skeleton(folder))

    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", list(WITH_HEADS))
def test_a_model_with_a_head_for_another_task_has_a_prefix(kind: str, tmp_path: Path):
    folder = save(tmp_path / "model", kind, WITH_HEADS[kind])
    assert not any(name.startswith("encoder.") for name in load_file(folder / "model.safetensors"))

    skeleton = build_skeleton(folder)

    assert skeleton is not None
    expected, ours = states(folder, skeleton)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_weights_may_be_in_several_files(tmp_path: Path):
    folder = save(tmp_path / "model", "mpnet")
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2

    skeleton = build_skeleton(tmp_path / "parts")

    assert skeleton is not None
    expected, ours = states(folder, skeleton)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_computed_in_float32(dtype: torch.dtype, tmp_path: Path):
    folder = save(tmp_path / "model", "bert")
    change_weights(folder, lambda weights: weights.update({name: of.to(dtype) for name, of in weights.items()}))

    skeleton = build_skeleton(folder)

    assert skeleton is not None
    assert {parameter.dtype for parameter in skeleton.parameters()} == {torch.float32}
    expected, ours = states(folder, skeleton)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"add_cross_attention": True},
        {"chunk_size_feed_forward": 4},
        {"pruned_heads": {"0": [1]}},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"of_a_later_version": True},
        {"rope_scaling": None},
        {"num_attention_heads": 7},
        {"layer_norm_eps": ...},
        {"type_vocab_size": ...},
        {"hidden_size": "64"},
        {"model_type": "electra"},
    ],
)
def test_a_configuration_that_is_not_known_entirely_is_left_to_the_library(change: dict[str, Any], tmp_path: Path):
    folder = save(tmp_path / "model", "bert")
    assert build_skeleton(folder) is not None

    change_config(folder, **change)

    assert build_skeleton(folder) is None


@pytest.mark.parametrize(
    "change",
    [
        {"pooler_fc_size": 768, "directionality": "bidi", "id2label": {"0": "LABEL_0"}, "torch_dtype": "float16"},
        {"position_embedding_type": "absolute", "use_cache": False, "hidden_dropout_prob": 0.5, "_name_or_path": "x"},
    ],
)
def test_what_changes_nothing_is_known(change: dict[str, Any], tmp_path: Path):
    folder = save(tmp_path / "model", "bert")

    change_config(folder, **change)

    assert build_skeleton(folder) is not None


@pytest.mark.parametrize("kind", ["mpnet", "roberta"])
def test_a_table_of_another_size_is_left_to_the_library(kind: str, tmp_path: Path):
    folder = save(tmp_path / "model", kind)
    name = {"mpnet": "relative_attention_num_buckets", "roberta": "type_vocab_size"}[kind]

    change_config(folder, **{name: 64})

    assert build_skeleton(folder) is None


def test_an_adapter_beside_the_weights_is_left_to_the_library(tmp_path: Path):
    folder = save(tmp_path / "model", "bert")
    (folder / "adapter_config.json").write_text("{}")

    assert build_skeleton(folder) is None


LAYER = "encoder.layer.1.output.dense"


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.pop(f"{LAYER}.bias"),
        lambda weights: weights.update({f"{LAYER}.gate": torch.ones(2)}),
        lambda weights: weights.update({f"{LAYER}.bias": torch.ones(2)}),
        lambda weights: weights.update({f"{LAYER}.weight": weights[f"{LAYER}.weight"].t().contiguous()}),
        lambda weights: weights.update({f"{LAYER}.bias": weights[f"{LAYER}.bias"].to(torch.float64)}),
        lambda weights: weights.update({f"{LAYER}.bias": torch.ones(64, dtype=torch.int8)}),
        lambda weights: weights.update({f"bert.{LAYER}.bias": torch.ones(64)}),
    ],
    ids=["missing", "left over", "another shape", "turned", "double", "quantized", "twice"],
)
def test_weights_that_do_not_all_fit_are_left_to_the_library(change: Callable[[Any], object], tmp_path: Path):
    folder = save(tmp_path / "model", "bert")

    change_weights(folder, change)

    assert build_skeleton(folder) is None


def test_a_pooler_may_be_missing_and_computed_tables_may_be_there(tmp_path: Path):
    folder = save(tmp_path / "model", "bert")
    change_weights(folder, lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("pooler.")])
    change_weights(folder, lambda weights: weights.update({"embeddings.position_ids": torch.arange(300)[None]}))

    assert build_skeleton(folder) is not None


def test_old_names_of_norms_are_the_librarys_matter(tmp_path: Path):
    folder = save(tmp_path / "model", "bert")

    def rename(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if "LayerNorm" in name]:
            weights[name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")] = (
                weights.pop(name)
            )

    change_weights(folder, rename)

    assert build_skeleton(folder) is None


@pytest.mark.parametrize("damage", ["absent", "cut", "index", "elsewhere", "incomplete"])
def test_damaged_files_are_left_to_the_library(damage: str, tmp_path: Path):
    folder = save(tmp_path / "model", "bert")
    file = folder / "model.safetensors"
    index = folder / "model.safetensors.index.json"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "incomplete":
        file.rename(folder / "part.safetensors")
        index.write_text(json.dumps({"weight_map": {f"{LAYER}.bias": "part.safetensors"}}))
    else:
        file.unlink()
    if damage == "index":
        index.write_text(json.dumps({"weight_map": {f"{LAYER}.bias": "model-1.safetensors"}}))
    elif damage == "elsewhere":
        index.write_text(json.dumps({"weight_map": {f"{LAYER}.bias": "../model.safetensors"}}))

    assert build_skeleton(folder) is None


def test_what_the_library_is_left_with_is_fused_as_well(tiny_model: Path):
    change_config(tiny_model, of_a_later_version=1)
    files = ModelFiles("tiny", "1", tiny_model)

    assert not isinstance(load_weights(files), Skeleton)
    assert isinstance(loaded(files)._layers._transformer, FusedTransformer)


def test_a_misshapen_weight_is_refused(tiny_model: Path):
    change_weights(tiny_model, lambda weights: weights.update({"embeddings.LayerNorm.bias": torch.ones(5)}))

    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        loaded(ModelFiles("tiny", "1", tiny_model))


def test_weights_stay_mapped_from_their_file(tmp_path: Path):
    folder = save(tmp_path / "model", "mpnet", vocab_size=20_000)
    skeleton = build_skeleton(folder)
    assert skeleton is not None

    mappings = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in mappings]

    weight = skeleton.embeddings.word_embeddings.weight
    assert any(start <= weight.data_ptr() < end for start, end in ranges)


def test_the_librarys_code_is_not_imported(tiny_model: Path, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "copy"))
    code = (
        "import sys, pathlib; from embedding_assets.encoder.files import ModelFiles; "
        "from embedding_assets.encoder.ways import load_layers, Way; "
        f"layers = load_layers(ModelFiles('tiny', '1', pathlib.Path({str(folder)!r})), 'cpu', 32, "
        "Way('fused', 'float32')); "
        "print(*sorted({'transformers', 'sentence_transformers', 'scipy', 'sympy', 'sklearn', 'pandas', 'PIL', "
        "'jinja2', 'torchvision', 'torch._dynamo', 'torch._inductor', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
