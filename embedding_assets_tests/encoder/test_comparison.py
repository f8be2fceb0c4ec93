"""Whatever a model's files say, its vectors are those of its library, or it is refused."""

import json
import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import CNN, Pooling, StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor

from embedding_assets.encoder import comparison, fused
from embedding_assets.encoder.comparison import LEAST_AGREEMENT, compare, load_compared
from embedding_assets.encoder.comparison_record import Record
from embedding_assets.encoder.files import ModelFiles, locate_model
from embedding_assets.encoder.fused import FusedTransformer, _RelativeBias
from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.reference import AWKWARD_TEXTS
from embedding_assets.encoder.tokens import Role
from embedding_assets.encoder.ways import Way
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets_tests.support.architectures import ARCHITECTURES, save_model
from embedding_assets_tests.support.encoding import ODD_TEXTS, cosines, real_texts
from embedding_assets_tests.support.rounding import let_int8_pay, needs_int8
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model

TEXTS = [text for text in [*ODD_TEXTS, *real_texts(6)] if text.strip()]
FUSED = {"bert", "mpnet", "roberta", "xlm-roberta", "camembert"}
LAYERS = {"distilbert", "albert", "electra", "modernbert"}


def located(folder: Path) -> ModelFiles:
    return locate_model(str(folder), None, data_dir=folder, timeout_seconds=1)


def compared(folder: Path) -> tuple[LoadedModel, Way]:
    files = located(folder)
    model, made = compare(files, "cpu", files.max_tokens(384), "float32")
    return model, Way(made.code, made.precision)


def agrees(model: LoadedModel, folder: Path) -> None:
    """With what the package makes of other texts than those compared, as documents and as queries."""
    reference = SentenceTransformer(str(folder), device="cpu")
    for role, encode in ((Role(), reference.encode_document), (Role(query=True), reference.encode_query)):
        vectors = model.encode(model.tokenize(TEXTS, role), role)
        assert cosines(vectors, encode(TEXTS, batch_size=1)).min() >= 0.9999


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture: str, pooling: str, tmp_path: Path):
    folder = save_model(tmp_path / "model", architecture, pooling)
    model, way = compared(folder)
    is_known = pooling in ("mean", "cls")
    fastest = "fused" if architecture in FUSED else "layers" if architecture in LAYERS else "package"
    assert way == Way(fastest if is_known else "package", "float32")
    agrees(model, folder)


def test_a_decoder_of_a_known_kind_is_not_fused(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = save_model(tmp_path / "model", "bert", is_decoder=True)
    model, way = compared(folder)
    assert way.code == "layers"
    assert "fused float32 differs from its library's result" in caplog.text
    agrees(model, folder)


SAID_IN_FILES: dict[str, Callable[[Path], None]] = {
    "lower case in the tokenizer's settings": lambda path: edit(path, "tokenizer_config.json", do_lower_case=False),
    "accents kept": lambda path: edit(path, "tokenizer_config.json", strip_accents=False),
    "a token of its own": lambda path: edit(path, "tokenizer_config.json", additional_special_tokens=["z"]),
    "a token of its own, described": lambda path: edit(
        path,
        "tokenizer_config.json",
        added_tokens_decoder={
            "9": {"content": "z", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
        },
    ),
    "a token of its own in a map": lambda path: (
        (path / "special_tokens_map.json").write_text('{"additional_special_tokens": ["z"]}') and None
    ),
    "cut from the left": lambda path: edit(path, "tokenizer_config.json", truncation_side="left"),
    "lower case in the transformer's settings": lambda path: edit(
        path, "sentence_bert_config.json", do_lower_case=True
    ),
    "a length of its own": lambda path: edit(
        path, "sentence_bert_config.json", processing_kwargs={"text": {"max_length": 12}}
    ),
    "no special tokens": lambda path: edit(
        path, "sentence_bert_config.json", processing_kwargs={"text": {"add_special_tokens": False}}
    ),
    "documents shorter than queries": lambda path: edit(
        path, "sentence_bert_config.json", document_length=10, query_length=20
    ),
    "another layer's states": lambda path: edit(
        path,
        "sentence_bert_config.json",
        modality_config={"text": {"method": "forward", "method_output_name": ["hidden_states", 0]}},
    ),
    "settings under an older name": lambda path: (
        edit(path, "sentence_bert_config.json", max_seq_length=16),
        (path / "sentence_bert_config.json").rename(path / "sentence_roberta_config.json"),
    )[0],
}


@pytest.mark.parametrize("said", SAID_IN_FILES)
def test_what_files_say_is_done(said: str, tiny_model: Path, tmp_path: Path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    SAID_IN_FILES[said](folder)
    model, _ = compared(folder)
    agrees(model, folder)


def test_a_router_takes_documents_and_queries_their_ways(tmp_path: Path):
    ways = {}
    for route, seed, length in (("query", 1, 20), ("document", 2, 40)):
        folder = save_tiny_model(tmp_path / route)
        transformer = Transformer(str(folder))
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in transformer.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        transformer.max_seq_length = length
        ways[route] = [transformer, Pooling(DIMENSIONS, "mean")]
    router = Router.for_query_document(ways["query"], ways["document"])
    folder = tmp_path / "router"
    SentenceTransformer(modules=[router, Normalize()], device="cpu").save(str(folder), create_model_card=False)
    model, way = compared(folder)
    assert way.code == "package"
    agrees(model, folder)
    document, query = (model.tokenize(["letters " * 20], Role(query=query))[0] for query in (False, True))
    assert (len(document.ids), len(query.ids)) == (40, 20)
    assert document.truncated
    assert query.truncated


def test_positions_that_lie_behind_padding_are_not_read(tmp_path: Path):
    folder = save_model(tmp_path / "model", "roberta")
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        settings = json.loads((folder / name).read_text())
        settings.pop(key, None)
        (folder / name).write_text(json.dumps(settings))
    assert located(folder).max_tokens(384) == 129
    model, _ = compared(folder)
    [long] = model.tokenize(["letters " * 100])
    assert (len(long.ids), long.truncated) == (129, True)
    assert np.isfinite(model.encode([long])).all()


@pytest.mark.parametrize("normalize", [True, False])
def test_a_static_embedding(normalize: bool, tiny_model: Path, tmp_path: Path):
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    tokenizer.no_truncation()
    torch.manual_seed(5)
    modules = [StaticEmbedding(tokenizer, embedding_dim=24), *([Normalize()] if normalize else [])]
    folder = tmp_path / "static"
    SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    files = located(folder)
    assert (files.dimensions, files.normalized) == (24, normalize)
    model, way = compared(folder)
    assert way == Way("layers", "float32")
    texts = [text[:60] for text in TEXTS]
    np.testing.assert_allclose(
        model.encode(model.tokenize(texts)), SentenceTransformer(str(folder), device="cpu").encode(texts), atol=1e-5
    )
    assert not model.encode(model.tokenize([""])).any()


def test_vectors_that_depend_on_the_others_of_a_batch_are_refused(tiny_model: Path, tmp_path: Path):
    transformer = Transformer(str(tiny_model))
    layers = [CNN(DIMENSIONS, out_channels=16, kernel_sizes=[3]), Pooling(16, "mean")]
    folder = tmp_path / "convolution"
    SentenceTransformer(modules=[transformer, *layers], device="cpu").save(str(folder), create_model_card=False)
    with pytest.raises(ModelUnavailableError, match="in a batch they differ from those alone"):
        compared(folder)


def test_a_wrong_length_is_a_difference(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    encode = LoadedModel.encode
    monkeypatch.setattr(LoadedModel, "encode", lambda *arguments: encode(*arguments) * 1.1)
    with pytest.raises(ModelUnavailableError, match="cannot be reproduced"):
        compared(tiny_model)


def test_a_mistake_in_fused_layers_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    folder = save_model(tmp_path / "model", "mpnet")
    bias = _RelativeBias.forward
    monkeypatch.setattr(_RelativeBias, "forward", lambda self, tokens: bias(self, tokens).transpose(-1, -2))
    model, way = compared(folder)
    assert way.code == "layers"
    assert "fused float32 differs from its library's result" in caplog.text
    agrees(model, folder)


def test_nan_is_a_difference(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    states = FusedTransformer.forward
    monkeypatch.setattr(
        FusedTransformer, "forward", lambda *arguments, **options: states(*arguments, **options) * torch.nan
    )
    assert compared(tiny_model)[1].code == "layers"
    assert "(-1.00000)" in caplog.text


def test_what_another_version_of_a_library_breaks_is_done_by_slower_code(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def renamed(*_: object, **__: object) -> None:
        raise AttributeError("no attribute 'intermediate'")

    monkeypatch.setattr("embedding_assets.encoder.ways.fuse", renamed)
    assert compared(tiny_model)[1].code == "layers"
    assert "could not be computed in fused float32 (ModelUnavailableError" in caplog.text


def test_where_bfloat16_cannot_be_packed_fused_float32_computes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    packed = fused._PackedLinear

    def unsupported(weight: Tensor, *others: Any) -> Any:
        if weight.dtype == torch.bfloat16:
            raise RuntimeError("not on this processor")
        return packed(weight, *others)

    monkeypatch.setattr(fused, "_PackedLinear", unsupported)
    files = located(tiny_model)
    model, made = compare(files, "cpu", 32, "bfloat16")
    assert (made.code, model.precision, made.refused) == ("fused", "float32", {"fused bfloat16": None})


def test_a_precision_that_is_not_honoured_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    files = located(save_model(tmp_path / "last", "bert", "lasttoken"))
    assert load_compared(files, "cpu", 32, "bfloat16").precision == "float32"
    assert "EMBEDDING_PRECISION=bfloat16 is not honoured: last computes in float32" in caplog.text


@needs_int8
def test_int8_is_compared_by_a_threshold_of_its_own(demo_files: ModelFiles, monkeypatch: pytest.MonkeyPatch):
    let_int8_pay(monkeypatch)
    assert load_compared(demo_files, "cpu", 63, "int8").precision == "int8"
    made = Record.of(demo_files, "cpu", 63, "int8").read()
    assert made is not None
    assert LEAST_AGREEMENT["int8"] < min(made.documents, made.queries) < LEAST_AGREEMENT["float32"]
    assert Record.of(demo_files, "cpu", 63, "float32").read() is None


@needs_int8
def test_nothing_stands_in_for_int8(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    let_int8_pay(monkeypatch)
    monkeypatch.setitem(LEAST_AGREEMENT, "int8", 1.1)
    with pytest.raises(ConfigurationError, match=r"tiny loses too much in int8 .* unset EMBEDDING_PRECISION"):
        load_compared(located(tiny_model), "cpu", 32, "int8")
    other = located(save_model(tmp_path / "other", "distilbert", "mean"))
    with pytest.raises(ConfigurationError, match=r"is for MPNet and BERT-like .* other is another kind; unset"):
        load_compared(other, "cpu", 32, "int8")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that are compared."""
    names: list[str] = []
    made = comparison.compare

    def count(files: ModelFiles, *arguments: Any) -> Any:
        names.append(files.name)
        return made(files, *arguments)

    monkeypatch.setattr(comparison, "compare", count)
    return names


def test_it_is_made_once(tiny_model: Path, counted: list[str], caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "embedding_assets")
    files = located(tiny_model)
    first = load_compared(files, "cpu", 31, "float32")
    second = load_compared(files, "cpu", 31, "float32")
    assert counted == ["tiny"]
    assert "comparing tiny with its library" in caplog.text
    np.testing.assert_array_equal(first.encode(first.tokenize(["a"])), second.encode(second.tokenize(["a"])))
    kept = Record.of(files, "cpu", 31, "float32").read()
    assert kept is not None
    assert min(kept.documents, kept.queries) > 0.9999


@pytest.mark.parametrize("other", ["weights", "length", "version", "code", "damaged"])
def test_it_is_made_again_under_other_conditions(
    other: str, tiny_model: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
):
    load_compared(located(tiny_model), "cpu", 30, "float32")
    counted.clear()
    length = 30
    if other == "weights":
        edit(tiny_model, "config_sentence_transformers.json", prompts={"query": "q: "})
    elif other == "length":
        length = 29
    elif other == "version":
        monkeypatch.setattr("embedding_assets.encoder.comparison_record.version", lambda name: f"{name} of tomorrow")
    elif other == "code":
        monkeypatch.setattr("embedding_assets.encoder.comparison_record._code", lambda: "changed")
    else:
        Record.of(located(tiny_model), "cpu", 30, "float32")._file().write_text('{"key"')
    load_compared(located(tiny_model), "cpu", length, "float32")
    assert counted == ["tiny"]


def test_where_it_cannot_be_kept_that_is_said(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.file_download.HF_ASSETS_CACHE", str(tmp_path / "file"), raising=False)
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "file"))
    assert load_compared(located(tiny_model), "cpu", 28, "float32").dimensions == DIMENSIONS
    assert "comparison of tiny with its library cannot be kept" in caplog.text
    assert "HF_ASSETS_CACHE" in caplog.text


def test_awkward_texts_differ():
    assert len(set(AWKWARD_TEXTS)) == len(AWKWARD_TEXTS) == 20


def test_running_out_of_memory_does_not_slow_a_model_down(
    tiny_model: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
):
    encode = LoadedModel.encode
    full = True

    def crowded(model: LoadedModel, batch: Any, *arguments: Any) -> Any:
        if len(batch) > 3 or (full and len(batch) > 0 and model.load_seconds):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(model, batch, *arguments)

    monkeypatch.setattr(LoadedModel, "load_seconds", 0.0, raising=False)
    monkeypatch.setattr(LoadedModel, "encode", crowded)
    with pytest.raises(torch.OutOfMemoryError):
        load_compared(located(tiny_model), "cpu", 27, "float32")
    full = False
    assert load_compared(located(tiny_model), "cpu", 27, "float32").dimensions == DIMENSIONS
    kept = Record.of(located(tiny_model), "cpu", 27, "float32").read()
    assert kept is not None
    assert kept.code == "fused"
    assert counted == ["tiny", "tiny"], "what failed for want of memory was not kept"


def test_tokens_of_several_threads_are_those_of_one(tmp_path: Path):
    model, way = compared(save_model(tmp_path / "model", "bert", "lasttoken"))
    assert way.code == "package"
    texts = ["letters " * number for number in range(1, 40)]
    expected = [text.ids for text in model.tokenize(texts)]
    with ThreadPoolExecutor(4) as pool:
        for tokens in pool.map(lambda _: model.tokenize(texts), range(12)):
            assert [text.ids for text in tokens] == expected


def test_a_vocabulary_is_part_of_the_revision_where_it_makes_the_tokenizer(tiny_model: Path):
    (tiny_model / "vocab.txt").write_text("one")
    before = located(tiny_model).revision
    (tiny_model / "vocab.txt").write_text("other")
    assert located(tiny_model).revision == before, "tokenizer.json says it all"
    (tiny_model / "tokenizer.json").unlink()
    revision = located(tiny_model).revision
    (tiny_model / "vocab.txt").write_text("one")
    assert located(tiny_model).revision != revision
