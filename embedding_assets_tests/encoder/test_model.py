"""A loaded model against plain sentence-transformers, which is taken to be right."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embedding_assets.encoder.files import ModelFiles, locate_model
from embedding_assets.encoder.model import LoadedModel
from embedding_assets.encoder.shared import get_model, release_models
from embedding_assets.encoder.tokens import Role, TokenizedText
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets_tests.support.encoding import ODD_TEXTS, cosines, loaded, real_texts
from embedding_assets_tests.support.tiny_model import DIMENSIONS, POSITIONS, PROMPTS, save_tiny_model


def encode(model: LoadedModel, texts: list[str], prompt: str = "", batch: int = 16) -> NDArray[np.float32]:
    tokenized = model.tokenize(texts, Role(prompt))
    order = sorted(range(len(texts)), key=lambda index: len(tokenized[index].ids))
    vectors = np.empty((len(texts), model.dimensions), dtype=np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        vectors[rows] = model.encode([tokenized[row] for row in rows], Role(prompt))
    return vectors


@pytest.fixture
def nothing_loaded() -> Iterator[None]:
    release_models()
    yield
    release_models()


@pytest.fixture(scope="module")
def demo(demo_files: ModelFiles) -> LoadedModel:
    return get_model(demo_files, device="cpu", max_tokens=demo_files.max_tokens(384), precision="float32")


@pytest.fixture(scope="module")
def reference(demo_files: ModelFiles) -> SentenceTransformer:
    return SentenceTransformer(str(demo_files.path), device="cpu")


def test_vectors_equal_those_of_sentence_transformers(demo: LoadedModel, reference: SentenceTransformer):
    texts = [*ODD_TEXTS, *real_texts(200)]
    expected = reference.encode(texts, batch_size=16)
    vectors = encode(demo, texts)
    assert vectors.dtype == np.float32
    assert cosines(vectors, expected).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    lengths = [len(text.ids) for text in demo.tokenize(texts)]
    assert max(lengths) == 256
    assert len(set(lengths)) > 50


def test_truncation_is_reported(demo: LoadedModel, reference: SentenceTransformer):
    texts = [*ODD_TEXTS, *real_texts(60)]
    whole = [len(ids) for ids in reference.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    tokenized = demo.tokenize(texts)
    assert [text.truncated for text in tokenized] == [count > 256 for count in whole]
    assert [len(text.ids) for text in tokenized] == [min(count, 256) for count in whole]
    assert {text.truncated for text in tokenized} == {True, False}


def test_the_order_within_a_batch_is_kept(demo: LoadedModel):
    texts = ["short", "a somewhat longer text than that", "mid length"]
    together = demo.encode(demo.tokenize(texts))
    alone = np.concatenate([demo.encode(demo.tokenize([text])) for text in texts])
    assert cosines(together, alone).min() >= 0.9999


@pytest.mark.parametrize(("tokens", "width"), [(1, 16), (16, 16), (17, 32), (49, 50), (50, 50)])
def test_a_batch_is_padded_for_matrix_units_but_not_past_the_positions(
    tokens: int, width: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    model = loaded(tiny_model, 50, "float32")
    text = TokenizedText([5] * tokens, truncated=False)
    expected = model.encode([text])
    monkeypatch.setattr(model, "width_multiple", 16)
    assert model._width([text]) == width
    np.testing.assert_allclose(model.encode([text]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("left", "right", "cosine"),
    [
        ("How do I open a file?", "Use the open function to read or write a file.", 0.7798),
        ("How do I open a file?", "The cat sleeps in the sun.", 0.0856),
        ("A man is playing a guitar.", "Someone plays an instrument.", 0.6674),
    ],
)
def test_canonical_cosines(left: str, right: str, cosine: float, demo: LoadedModel):
    one, other = encode(demo, [left, right])
    assert float(one @ other) == pytest.approx(cosine, abs=2e-3)


def test_canonical_vector(demo: LoadedModel):
    [vector] = encode(demo, ["hello world"])
    np.testing.assert_allclose(vector[:4], [-0.02438, 0.02194, 0.00476, 0.01846], atol=2e-3)


def test_the_lift_keeps_every_cosine_of_the_published_model(demo: LoadedModel, demo_files: ModelFiles):
    from transformers import AutoModel, AutoTokenizer

    texts = real_texts(12)
    tokenizer = AutoTokenizer.from_pretrained(demo_files.path)
    features = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        tokens = AutoModel.from_pretrained(demo_files.path, use_safetensors=True)(**features).last_hidden_state
    mask = features["attention_mask"].unsqueeze(-1)
    published = torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1)).numpy()
    assert published.shape == (len(texts), 384)
    lifted = encode(demo, texts)
    np.testing.assert_allclose(lifted @ lifted.T, published @ published.T, atol=1e-3)


def test_a_long_text_costs_little(demo: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    text = "ten letters and more " * 500_000
    assert len(text) > 10_000_000
    from time import monotonic

    started = monotonic()
    [tokenized] = demo.tokenize([text])
    assert monotonic() - started < 2
    assert tokenized.truncated
    assert tokenized.ids == demo.tokenize([text[:50_000]])[0].ids


@pytest.mark.usefixtures("nothing_loaded")
def test_threads_share_one_load(demo_files: ModelFiles, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "embedding_assets")
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: get_model(demo_files, device="cpu", max_tokens=256), range(8)))
        assert len(set(map(id, models))) == 1
        texts = [[f"text {number} of thread {thread}" for number in range(thread + 1)] for thread in range(8)]
        together = list(pool.map(lambda group: encode(models[0], group), texts))
    assert len([record for record in caplog.records if record.getMessage().startswith("loaded ")]) == 1
    for group, vectors in zip(texts, together, strict=True):
        assert cosines(vectors, encode(models[0], group)).min() >= 0.9999


@pytest.mark.usefixtures("nothing_loaded")
def test_a_model_is_shared_until_it_is_released(tiny_model: Path):
    files = locate_model(str(tiny_model), None, data_dir=tiny_model, timeout_seconds=1)
    model = get_model(files, device="cpu", max_tokens=POSITIONS)
    assert get_model(files, device="cpu", max_tokens=POSITIONS) is model
    assert get_model(files, device="cpu", max_tokens=8) is not model
    if model.device == get_model(files, device="auto", max_tokens=POSITIONS).device:
        assert get_model(files, device="auto", max_tokens=POSITIONS) is model
    release_models()
    assert get_model(files, device="cpu", max_tokens=POSITIONS) is not model


def test_an_absent_device_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    files = locate_model(str(tiny_model), None, data_dir=tiny_model, timeout_seconds=1)
    with pytest.raises(ConfigurationError, match="EMBEDDING_DEVICE: cuda:7 is not available"):
        get_model(files, device="cuda:7", max_tokens=POSITIONS)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_small_models_with_prompts(normalize: bool, include_prompt: bool, tmp_path: Path):
    folder = save_tiny_model(tmp_path / "tiny", normalize=normalize, prompts=PROMPTS)
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "include_prompt": include_prompt}))
    files = locate_model(str(folder), None, data_dir=tmp_path, timeout_seconds=1)
    model = loaded(files, files.max_tokens(384))
    assert model.dimensions == files.dimensions == DIMENSIONS
    reference = SentenceTransformer(str(folder), device="cpu")
    texts = ["a", " two words", "many words " * 40, *real_texts(20)]
    vectors = {}
    for kind, prompt in PROMPTS.items():
        vectors[kind] = encode(model, texts, prompt)
        expected = reference.encode(texts, prompt_name=kind)
        np.testing.assert_allclose(vectors[kind], expected, atol=1e-4)
        assert cosines(vectors[kind], expected).min() >= 0.9999
    assert not np.allclose(vectors["query"], vectors["document"], atol=1e-3)
    assert np.allclose(np.linalg.norm(vectors["query"], axis=1), 1, atol=1e-4) is normalize


@pytest.mark.parametrize("damage", [b"", b"no weights at all", b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1}      '])
def test_damaged_weights(damage: bytes, tiny_model: Path):
    (tiny_model / "model.safetensors").write_bytes(damage)
    files = locate_model(str(tiny_model), None, data_dir=tiny_model, timeout_seconds=1)
    with pytest.raises(ModelUnavailableError, match=r"the files of model tiny in .* cannot be loaded"):
        loaded(files, POSITIONS)


def test_weights_that_are_missing_are_not_made_up(tiny_model: Path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_model / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "attention" not in name}
    save_file(kept, tiny_model / "model.safetensors", metadata={"format": "pt"})
    files = locate_model(str(tiny_model), None, data_dir=tiny_model, timeout_seconds=1)
    with pytest.raises(ModelUnavailableError, match=r"10 weights of model tiny are missing, e.g. encoder"):
        loaded(files, POSITIONS)


def test_a_pooler_that_no_layer_uses_may_be_missing(tiny_model: Path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_model / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    assert len(kept) < len(weights)
    save_file(kept, tiny_model / "model.safetensors", metadata={"format": "pt"})
    files = locate_model(str(tiny_model), None, data_dir=tiny_model, timeout_seconds=1)
    assert loaded(files, POSITIONS).dimensions == DIMENSIONS


def test_a_layer_of_third_parties_is_not_loaded(tiny_model: Path, tmp_path: Path):
    mark = tmp_path / "executed"
    (tiny_model / "custom.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Layer: pass\n")
    modules = json.loads((tiny_model / "modules.json").read_text())
    modules[-1]["type"] = "custom.Layer"
    (tiny_model / "modules.json").write_text(json.dumps(modules))
    files = locate_model(str(tiny_model), None, data_dir=tiny_model, timeout_seconds=1)
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        loaded(files, POSITIONS)
    assert not mark.exists()
