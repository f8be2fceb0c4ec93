"""Layers put together here compute what sentence-transformers computes; what is not known is left to that package."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import Pooling

from embedding_assets.encoder.files import ModelFiles
from embedding_assets.encoder.layers import KnownLayers, has_known_layers
from embedding_assets.encoder.package import PackageLayers
from embedding_assets.errors import ModelUnavailableError
from embedding_assets_tests.support.encoding import loaded
from embedding_assets_tests.support.tiny_model import DIMENSIONS

TEXTS = ["one", "two words", "a text of some more words, with punctuation.", "x" * 90, "", "ünïcode"]


def resaved(folder: Path, target: Path, *layers: torch.nn.Module) -> Path:
    """The tiny model with other layers behind its transformer."""
    transformer = SentenceTransformer(str(folder), device="cpu")[0]
    SentenceTransformer(modules=[transformer, *layers], device="cpu").save(str(target), create_model_card=False)
    return target


@pytest.mark.parametrize(
    ("layers", "known"),
    [
        ([Pooling(DIMENSIONS, "mean"), Normalize()], True),
        ([Pooling(DIMENSIONS, "cls")], True),
        ([Pooling(DIMENSIONS, "max"), Normalize()], True),
        ([Pooling(DIMENSIONS, "mean"), Dense(DIMENSIONS, 48), Normalize()], True),
        ([Pooling(DIMENSIONS, "mean"), Dense(DIMENSIONS, 16, bias=False, activation_function=torch.nn.GELU())], True),
        ([Pooling(DIMENSIONS, "weightedmean"), Normalize()], False),
        ([Pooling(DIMENSIONS, "lasttoken")], False),
        ([Pooling(DIMENSIONS, ("mean", "max"))], True),
        ([Pooling(DIMENSIONS, ("cls", "mean")), Normalize()], True),
        ([Pooling(DIMENSIONS, "mean"), Normalize(), Dense(DIMENSIONS, 16)], True),
        ([Pooling(DIMENSIONS, "mean"), Normalize(module_input_name="token_embeddings")], False),
    ],
)
def test_vectors_are_those_of_the_package(
    layers: list[torch.nn.Module], known: bool, tiny_model: Path, tmp_path: Path
) -> None:
    folder = resaved(tiny_model, tmp_path / "changed", *layers)
    model = loaded(folder, 32, "float32")
    assert isinstance(model._layers, KnownLayers if known else PackageLayers)
    reference = SentenceTransformer(str(folder), device="cpu")
    reference.max_seq_length = 32
    assert ModelFiles("changed", "1", folder).dimensions == model.dimensions
    is_unit = np.allclose(np.linalg.norm(reference.encode(TEXTS), axis=1), 1)
    assert ModelFiles("changed", "1", folder).normalized == is_unit
    np.testing.assert_allclose(model.encode(model.tokenize(TEXTS)), reference.encode(TEXTS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "auto_map", {"AutoModel": "remote.Model"}),
        ("config.json", "model_type", "t5"),
        ("sentence_bert_config.json", "do_lower_case", True),
        ("sentence_bert_config.json", "transformer_task", "fill-mask"),
        ("sentence_bert_config.json", "processing_kwargs", {"text": {"add_special_tokens": False}}),
        ("sentence_bert_config.json", "modality_config", {"text": {"method": "forward", "method_output_name": "x"}}),
        ("sentence_bert_config.json", "document_length", 8),
        ("sentence_bert_config.json", "of_a_later_version", 1),
    ],
)
def test_a_transformer_with_something_unknown_is_not_taken_for_a_plain_one(
    file: str, key: str, value: object, tiny_model: Path
) -> None:
    assert has_known_layers(ModelFiles("tiny", "1", tiny_model))
    path = tiny_model / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert not has_known_layers(ModelFiles("changed", "1", tiny_model))


def test_a_layer_of_another_package_is_not_taken_for_one_of_the_same_name(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "custom_st.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    files = ModelFiles("changed", "1", folder)
    assert files.dimensions is None
    assert not has_known_layers(files)


UNUSED = {"sentence_transformers", "transformers", "pandas", "sklearn", "scipy", "sympy", "dagster", "sqlalchemy",
          "openai", "matplotlib", "torch._dynamo", "torch._inductor"}  # fmt: skip


def test_a_model_that_was_compared_needs_no_import_of_a_library_of_models(data_dir: Path) -> None:
    code = (
        "import sys, pathlib; from embedding_assets.encoder.shared import get_model; "
        "from embedding_assets.encoder.files import locate_model; "
        "from embedding_assets.encoder.demo_model import NAME; "
        f"files = locate_model(NAME, None, data_dir=pathlib.Path({str(data_dir)!r}), timeout_seconds=1); "
        "model = get_model(files, device='cpu', max_tokens=256); "
        "assert model.encode(model.tokenize(['a'])).shape == (1, 768); "
        f"sys.exit(3 if {UNUSED!r} & set(sys.modules) else 0)"
    )
    first, second = (subprocess.run([sys.executable, "-c", code], check=False).returncode for _ in range(2))
    assert first in (0, 3), "compared with the package, unless another test has done it"
    assert second == 0


@pytest.mark.parametrize("layers", [[Pooling(DIMENSIONS, "mean")], [Pooling(DIMENSIONS, "lasttoken")]])
def test_weights_in_another_format_are_computed_in_float32(
    layers: list[torch.nn.Module], tiny_model: Path, tmp_path: Path
) -> None:
    transformer = SentenceTransformer(str(tiny_model), device="cpu")[0].to(torch.bfloat16)
    folder = tmp_path / "rounded"
    SentenceTransformer(modules=[transformer, *layers], device="cpu").save(str(folder), create_model_card=False)
    model = loaded(folder, 32, "float32")
    assert {parameter.dtype for parameter in model._layers.parameters()} == {torch.float32}
    assert model.precision == "float32"


@pytest.mark.parametrize("mode", ["mean", "lasttoken"], ids=["known", "package"])
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda weights: [weights.pop(name) for name in list(weights) if "intermediate" in name], "are missing, e.g. "),
        (lambda weights: weights.update({"encoder.layer.0.gate.weight": torch.ones(2)}), "are left over, e.g. "),
        (lambda weights: weights.update({"embeddings.gate.weight": torch.ones(2)}), "left over, e.g. embeddings.gate"),
    ],
)
def test_weights_go_where_they_belong_all_of_them(
    mode: str, change: Callable[[dict[str, torch.Tensor]], object], fault: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = resaved(tiny_model, tmp_path / "changed", Pooling(DIMENSIONS, mode))
    rewrite_weights(folder, change)
    with pytest.raises(ModelUnavailableError, match=fault):
        loaded(folder, 32)


@pytest.mark.parametrize("mode", ["mean", "lasttoken"], ids=["known", "package"])
def test_a_head_for_another_task_may_be_left_over(mode: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = resaved(tiny_model, tmp_path / "changed", Pooling(DIMENSIONS, mode))
    rewrite_weights(
        folder,
        lambda weights: weights.update(
            {"cls.predictions.bias": torch.ones(2), "embeddings.position_ids": torch.arange(64).unsqueeze(0)}
        ),
    )
    assert loaded(folder, 32).dimensions == DIMENSIONS


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("auto_map", "refused"),
    [
        ({"AutoModel": "someone/code--modeling.JinaBertModel"}, "JinaBertModel"),
        ({"AutoModelForMaskedLM": "modeling.BertForMaskedLM"}, "auto_map in config.json"),
        ({"AutoModel": "modeling_bert.BertModel"}, None),  # taken over into the library
    ],
)
def test_a_model_that_needs_code_of_its_own_is_refused(
    auto_map: dict[str, str], refused: str | None, tiny_model: Path
) -> None:
    path = tiny_model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": auto_map}))
    files = ModelFiles("tiny", "1", tiny_model)
    if refused is None:
        assert loaded(files, 32).dimensions == DIMENSIONS
        return
    with pytest.raises(ModelUnavailableError, match=f"needs code of its own .*{re.escape(refused)}.*never run"):
        loaded(files, 32)
