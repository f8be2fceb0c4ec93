"""Vectors from a model in this process: batches that fail, texts that fail, models that fail."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from embedding_assets.config import EmbeddingConfig
from embedding_assets.encoder.files import locate_model
from embedding_assets.encoder.model import DOCUMENT, LoadedModel, PendingVectors
from embedding_assets.encoder.shared import release_models
from embedding_assets.encoder.tokens import Role, TokenizedText
from embedding_assets.errors import ConfigurationError, ProviderError
from embedding_assets.providers.local import local_space
from embedding_assets_tests.support.encoding import embedded, local_provider
from embedding_assets_tests.support.rounding import let_int8_pay, needs_int8
from embedding_assets_tests.support.tiny_model import DIMENSIONS, POSITIONS, PROMPTS, save_tiny_model

Encode = Callable[[LoadedModel, Sequence[TokenizedText], Role], NDArray[np.float32]]
REAL_START = LoadedModel.start


def real_encode(model: LoadedModel, batch: Sequence[TokenizedText], role: Role = DOCUMENT) -> NDArray[np.float32]:
    return REAL_START(model, batch, role).numpy()


@pytest.fixture
def encode_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Encode], None]:
    def replace(replacement: Encode) -> None:
        def start(
            model: LoadedModel, batch: Sequence[TokenizedText], role: Role = DOCUMENT, *, alone: bool = False
        ) -> PendingVectors:
            return PendingVectors(torch.from_numpy(replacement(model, batch, role)), None)

        monkeypatch.setattr(LoadedModel, "start", start)

    return replace


TEXTS = [f"{'word ' * (number % 7)}number {number}" for number in range(40)]


def test_space(tiny: Path, prompted: Path):
    space = local_provider(tiny).space
    assert (space.provider, space.model, space.dimensions, space.normalized) == (
        "local",
        "tiny",
        DIMENSIONS,
        True,
    )
    assert (space.prompt, space.max_tokens) == ("", POSITIONS)
    assert space.revision.startswith("sha256:")
    other = local_provider(prompted, max_seq_length=16).space
    assert (other.normalized, other.prompt, other.max_tokens) == (False, PROMPTS["document"], 16)


def test_dimensions_that_are_not_the_models(tiny: Path):
    files = locate_model(str(tiny), None, data_dir=tiny, timeout_seconds=1)
    with pytest.raises(
        ConfigurationError, match=r"EMBEDDING_DIMENSIONS is 768, but tiny makes vectors of 32; set .*=32"
    ):
        local_space(files, EmbeddingConfig())


def test_dimensions_that_only_the_loaded_model_knows(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("embedding_assets.encoder.files.ModelFiles.dimensions", None)
    assert local_provider(tiny, dimensions=DIMENSIONS).load() >= 0
    with pytest.raises(ConfigurationError, match="EMBEDDING_DIMENSIONS is 33, but tiny makes 32"):
        local_provider(tiny, dimensions=33).load()


def test_loading_is_timed_once(tiny: Path):
    first, second = local_provider(tiny, max_seq_length=33), local_provider(tiny, max_seq_length=33)
    assert first.device == ""
    assert first.load() > 0
    assert first.load() == 0
    assert first.device == "cpu"
    # The same model in another local_provider: in memory already, so next to no time.
    assert second.load() < 0.05


def test_batches_hold_both_bounds_and_every_text_comes_back(tiny: Path):
    local = local_provider(tiny, batch_size=5, batch_tokens=64)
    seen: list[int] = []
    for batch in local.embed(TEXTS):
        assert 1 <= len(batch.indices) <= 5
        assert len(batch.indices) == 1 or len(batch.indices) * max(batch.token_counts) <= 64
        assert np.allclose(np.linalg.norm(batch.vectors, axis=1), 1, atol=1e-4)
        seen += batch.indices
    assert sorted(seen) == list(range(len(TEXTS)))


def test_truncation_is_reported(tiny: Path):
    found = {
        index: (tokens, truncated)
        for batch in local_provider(tiny).embed(["a", "many words " * 40])
        for index, tokens, truncated in zip(batch.indices, batch.token_counts, batch.truncated, strict=True)
    }
    assert found == {0: (3, False), 1: (POSITIONS, True)}


def test_queries_have_a_prompt_of_their_own(prompted: Path):
    local = local_provider(prompted)
    document, query = (embedded(local, ["text"], query=query)[0][0] for query in (False, True))
    assert not np.allclose(document, query, atol=1e-3)
    # What the prompts stand for: find: text
    as_document = embedded(local_provider(prompted), ["text"])[0][0]
    np.testing.assert_allclose(document, as_document, atol=1e-6)


def test_out_of_memory_halves_the_batch(
    tiny: Path, encode_with: Callable[[Encode], None], caplog: pytest.LogCaptureFixture
):
    expected, _ = embedded(local_provider(tiny), TEXTS)
    sizes: list[int] = []

    def small_memory(model: LoadedModel, batch: Sequence[TokenizedText], role: Role = DOCUMENT) -> NDArray[np.float32]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real_encode(model, batch, role)

    encode_with(small_memory)
    vectors, errors = embedded(local_provider(tiny), TEXTS)
    assert errors == {}
    assert max(sizes) > 3
    assert sorted(vectors) == list(range(len(TEXTS)))
    for index, vector in vectors.items():
        np.testing.assert_allclose(vector, expected[index], atol=1e-5)
    assert "OutOfMemoryError" in caplog.text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("index out of range in self"), "encoding_failed"),
        (IndexError("index out of range in self"), "encoding_failed"),
        (ValueError("strange"), "encoding_failed"),
    ],
)
def test_a_text_that_fails_alone_is_isolated(
    error: Exception, code: str, tiny: Path, encode_with: Callable[[Encode], None]
):
    local = local_provider(tiny)
    local.load()
    [bad] = local._model.tokenize([TEXTS[17]])

    def fragile(model: LoadedModel, batch: Sequence[TokenizedText], role: Role = DOCUMENT) -> NDArray[np.float32]:
        if bad in batch:
            raise error
        return real_encode(model, batch, role)

    encode_with(fragile)
    vectors, errors = embedded(local, TEXTS)
    assert errors == {17: code}
    assert sorted(vectors) == [index for index in range(len(TEXTS)) if index != 17]


@pytest.mark.parametrize("error", [RuntimeError("driver gone"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_model_that_fails_on_everything_stops_the_run(
    error: Exception, tiny: Path, encode_with: Callable[[Encode], None]
):
    def broken(model: LoadedModel, batch: Sequence[TokenizedText], role: Role = DOCUMENT) -> NDArray[np.float32]:
        raise error

    local = local_provider(tiny)
    local.load()
    encode_with(broken)
    with pytest.raises(ProviderError, match=r"model tiny fails on any text on cpu .* or set EMBEDDING_DEVICE=cpu"):
        embedded(local, TEXTS)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_a_stop_is_not_a_failure(error: BaseException, tiny: Path, encode_with: Callable[[Encode], None]):
    def stopped(model: LoadedModel, batch: Sequence[TokenizedText], role: Role = DOCUMENT) -> NDArray[np.float32]:
        raise error

    local = local_provider(tiny)
    local.load()
    encode_with(stopped)
    with pytest.raises(type(error)):
        embedded(local, TEXTS)


def test_a_text_that_has_no_tokens_to_read_is_isolated(tiny: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    texts = ["good", "canary \ud800 lone surrogate", "also good"]
    vectors, errors = embedded(local_provider(tiny), texts)
    assert sorted(vectors) == [0, 2]
    assert errors == {1: "tokenizing_failed"}
    assert embedded(local_provider(tiny), ["\ud800"]) == ({}, {0: "tokenizing_failed"})
    assert "canary" not in caplog.text


def test_a_tokenizer_that_fails_on_everything_stops_the_run(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> list[TokenizedText]:
        raise RuntimeError("broken")

    local = local_provider(tiny)
    local.load()
    monkeypatch.setattr(LoadedModel, "tokenize", broken)
    with pytest.raises(ProviderError, match="model tiny fails on any text"):
        embedded(local, ["a", "b"])


@needs_int8
def test_of_int8_documents_alone_are_rounded(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    let_int8_pay(monkeypatch)
    exact, rounded = local_provider(tiny), local_provider(tiny, precision="int8")
    assert rounded.space.differences(exact.space) == ["revision"]
    assert rounded.space.is_int8
    for query in (False, True):
        expected, found = (embedded(provider, TEXTS, query=query)[0] for provider in (exact, rounded))
        same = [np.allclose(expected[index], found[index], atol=1e-5) for index in expected]
        assert all(same) is query
        assert min(float(expected[index] @ found[index]) for index in expected) > 0.98
    assert rounded.precision == "int8"


def test_questions_of_int8_are_computed_where_documents_cannot_be(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("embedding_assets.encoder.int8.products_are_exact", lambda: False)
    release_models()
    rounded = local_provider(tiny, precision="int8")
    assert len(embedded(rounded, TEXTS[:3], query=True)[0]) == 3
    assert rounded.unrounded.space == rounded.space
    with pytest.raises(ConfigurationError, match="wrong vectors"):
        embedded(rounded, TEXTS[:3])
    exact = local_provider(tiny)
    assert exact.unrounded is exact


def test_no_texts(tiny: Path):
    assert embedded(local_provider(tiny), []) == ({}, {})


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("declared", "wanted"), [(16, 16), (16, 8), (None, 8)])
def test_vectors_of_a_model_that_allows_it_are_cut(normalize: bool, declared: int | None, wanted: int, tmp_path: Path):
    name = "tiny" if declared else "tiny-matryoshka"
    folder = save_tiny_model(tmp_path / name, normalize=normalize)
    whole = embedded(local_provider(folder), TEXTS)[0]
    if declared:
        config = folder / "config_sentence_transformers.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "truncate_dim": declared}))
    local = local_provider(folder, dimensions=wanted)
    assert (local.space.dimensions, local.space.normalized) == (wanted, normalize)
    cut = embedded(local, TEXTS)[0]
    for position, vector in cut.items():
        expected = whole[position][:wanted]
        length = np.linalg.norm(expected) if normalize else 1
        np.testing.assert_allclose(vector, expected / length, atol=1e-2)
        assert not normalize or np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_others_are_not_cut(tiny: Path):
    with pytest.raises(ConfigurationError, match="EMBEDDING_DIMENSIONS is 16, but tiny makes vectors of 32"):
        local_provider(tiny, dimensions=16)


def test_what_is_no_longer_wanted_when_its_batch_comes_is_left_out(tiny: Path):
    provider = local_provider(tiny, batch_size=4)
    asked: list[int] = []

    def still_wanted(positions: Sequence[int]) -> list[int]:
        asked.extend(positions)
        return [position for position in positions if position % 3]

    batches = list(provider.embed_wanted(TEXTS, still_wanted))
    whole, _ = embedded(provider, TEXTS)
    assert sorted(asked) == list(range(len(TEXTS)))
    assert sorted(index for batch in batches for index in batch.unwanted) == list(range(0, len(TEXTS), 3))
    found = {index: vector for batch in batches for index, vector in zip(batch.indices, batch.vectors, strict=True)}
    assert sorted(found) == [index for index in range(len(TEXTS)) if index % 3]
    for index, vector in found.items():
        np.testing.assert_allclose(vector, whole[index], atol=1e-5)


def test_what_was_tokenized_ahead_is_not_tokenized_again(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    provider = local_provider(tiny)
    provider.prepare(TEXTS)  # not loaded: nothing to do yet
    expected, _ = embedded(provider, TEXTS)
    monkeypatch.setattr(provider._model, "threads", 0)  # as on a device of its own
    tokenize, calls = LoadedModel.tokenize, []

    def noted(model: LoadedModel, texts: Sequence[str], role: Role = DOCUMENT) -> list[TokenizedText]:
        calls.append((len(texts), role.query))
        return tokenize(model, texts, role)

    monkeypatch.setattr(LoadedModel, "tokenize", noted)
    provider.prepare(TEXTS)
    vectors, errors = embedded(provider, TEXTS[5:])
    assert (calls, errors) == ([(len(TEXTS), False)], {})
    for index, vector in vectors.items():
        np.testing.assert_allclose(vector, expected[index + 5], atol=1e-5)
    # Others, and questions, are tokenized when they come.
    embedded(provider, ["another", *TEXTS])
    embedded(provider, TEXTS, query=True)
    assert calls[1:] == [(len(TEXTS) + 1, False), (len(TEXTS), True)]


def test_a_text_that_cannot_be_tokenized_ahead_is_found_when_it_is_embedded(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    provider = local_provider(tiny)
    provider.load()
    monkeypatch.setattr(provider._model, "threads", 0)
    provider.prepare(["good", "\ud800"])
    vectors, errors = embedded(provider, ["good", "\ud800"])
    assert (sorted(vectors), errors) == ([0], {1: "tokenizing_failed"})
