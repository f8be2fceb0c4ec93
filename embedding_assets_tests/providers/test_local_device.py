"""Batches on their way through a device, and in its number format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedding_assets.config import EmbeddingConfig
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.files import locate_model
from embedding_assets.encoder.model import DOCUMENT, LoadedModel, PendingVectors
from embedding_assets.encoder.precision import computes_bfloat16
from embedding_assets.encoder.shared import release_models
from embedding_assets.encoder.tokens import Role, TokenizedText
from embedding_assets.errors import ModelUnavailableError, ProviderError
from embedding_assets.providers.local import LocalProvider
from embedding_assets_tests.support.encoding import ODD_TEXTS, cosines, embedded, local_provider, real_texts


class AheadModel:
    """Notes when batches are started and when their vectors are asked for; may fail at either."""

    def __init__(self, local: LocalProvider, monkeypatch: pytest.MonkeyPatch, *, fail_ahead: int | None = None) -> None:
        local.load()
        self.in_flight = 0
        self.most_in_flight = 0
        self.started = 0
        self._fail_ahead = fail_ahead
        monkeypatch.setattr(local._model, "lookahead", 2)
        monkeypatch.setattr(
            LoadedModel, "start", lambda model, batch, role=DOCUMENT, *, alone=False: self.start(model, batch, role)
        )

    def start(self, model: LoadedModel, batch: Sequence[TokenizedText], role: Role) -> PendingVectors:
        self.started += 1
        if self.started == self._fail_ahead:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return PendingVectors(model._forward(batch, role).host, ready=self)

    def synchronize(self) -> None:
        self.in_flight -= 1


TEXTS = [f"{'word ' * (number % 7)}number {number}" for number in range(40)]


@pytest.mark.parametrize("fail_ahead", [None, 1, 4, 10])
def test_batches_are_started_ahead_and_all_come_back(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, fail_ahead: int | None
):
    expected, _ = embedded(local_provider(tiny), TEXTS)
    local = local_provider(tiny, batch_size=4)
    ahead = AheadModel(local, monkeypatch, fail_ahead=fail_ahead)

    vectors, errors = embedded(local, TEXTS)

    assert errors == {}
    assert (ahead.most_in_flight, ahead.in_flight) == (3, 0)
    assert sorted(vectors) == list(range(len(TEXTS)))
    for index, vector in vectors.items():
        np.testing.assert_allclose(vector, expected[index], atol=1e-5)


def test_a_batch_that_fails_while_the_device_works_on_it(tiny: Path, monkeypatch: pytest.MonkeyPatch):
    local = local_provider(tiny, batch_size=4)
    ahead = AheadModel(local, monkeypatch)
    failures = iter([False, False, True])

    def synchronize() -> None:
        ahead.in_flight -= 1
        if next(failures, False):
            raise RuntimeError("an error that the device reports late")

    monkeypatch.setattr(ahead, "synchronize", synchronize)
    vectors, errors = embedded(local, TEXTS)

    assert errors == {}
    assert sorted(vectors) == list(range(len(TEXTS)))


@pytest.mark.skipif(not computes_bfloat16(), reason="this CPU does not compute in bfloat16")
@pytest.mark.timeout(600)
def test_a_thousand_chunks_in_bfloat16_are_those_of_float32(data_dir: Path):
    texts = [*ODD_TEXTS, *real_texts(1030)]
    assert len(texts) >= 1000
    files = locate_model(DEMO_MODEL, None, data_dir=data_dir, timeout_seconds=1)
    local = LocalProvider(files, EmbeddingConfig(precision="bfloat16", device="cpu"))
    reference = SentenceTransformer(str(files.path), device="cpu")

    vectors, errors = embedded(local, texts)

    assert (local.precision, errors, len(vectors)) == ("bfloat16", {}, len(texts))
    ordered = np.stack([vectors[index] for index in range(len(texts))])
    np.testing.assert_allclose(np.linalg.norm(ordered, axis=1), 1, atol=1e-5)
    assert cosines(ordered, reference.encode(texts)).min() >= 0.9995


@pytest.mark.parametrize("was_compared", [False, True])
def test_a_model_that_fails_while_it_is_loaded(
    was_compared: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> PendingVectors:
        raise RuntimeError("no kernel image is available")

    # Neither loaded nor compared by another test.
    release_models()
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path))
    if was_compared:
        local_provider(tiny, max_seq_length=31).load()
        release_models()
    monkeypatch.setattr(LoadedModel, "start", broken)
    error, reason = (
        (ProviderError, "fails on any text on cpu")
        if was_compared
        else (ModelUnavailableError, "cannot be computed on cpu")
    )
    with pytest.raises(error, match=f"model tiny {reason} .*EMBEDDING_DEVICE=cpu"):
        local_provider(tiny, max_seq_length=31).load()
