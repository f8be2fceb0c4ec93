"""A cross-encoder with random weights, loaded as a real one is."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from embedding_assets.encoder.cross_encoder import CrossEncoder
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets_tests.support.tiny_model import save_tiny_cross_encoder, save_tiny_model

TEXTS = ["hello world", "quick brown fox", "lazy dog", "vector index " * 100, ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_cross_encoder(tmp_path_factory.mktemp("cross") / "encoder")


def test_scores_are_the_library_s(folder: Path):
    from sentence_transformers import CrossEncoder as Library

    scores = CrossEncoder(str(folder), None, device="cpu").scores("a lazy question", TEXTS)
    library = Library(str(folder), device="cpu", local_files_only=True)
    expected = library.predict([("a lazy question", text) for text in TEXTS], show_progress_bar=False)
    assert scores == pytest.approx([float(score) for score in expected], abs=1e-5)
    assert len(set(scores)) > 2


def test_no_texts(folder: Path):
    assert CrossEncoder(str(folder), None, device="cpu").scores("a question", []) == []


def test_threads_share_it(folder: Path):
    encoder = CrossEncoder(str(folder), None, device="cpu")
    alone = {text: encoder.scores("fox", [text])[0] for text in TEXTS}
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda text: (text, encoder.scores("fox", [text])[0]), TEXTS * 10))
    assert all(score == pytest.approx(alone[text], abs=1e-5) for text, score in together)


def test_a_model_of_several_numbers(tmp_path: Path):
    folder = save_tiny_cross_encoder(tmp_path / "three", labels=3)
    with pytest.raises(ConfigurationError, match="makes 3 numbers of a text, where a reranker makes one"):
        CrossEncoder(str(folder), None, device="cpu").scores("a", ["b"])


def test_a_model_that_is_no_cross_encoder(tmp_path: Path):
    folder = save_tiny_model(tmp_path / "embedding")
    with pytest.raises((ModelUnavailableError, ConfigurationError), match="EMBEDDING_RERANK_MODEL"):
        CrossEncoder(str(folder), None, device="cpu").scores("a", ["b"])


def test_weights_that_are_missing(folder: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "damaged"
    shutil.copytree(folder, copy)
    [file] = copy.rglob("*.safetensors")
    weights = load_file(file)
    del weights["classifier.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=r"weights of model .* are missing.*EMBEDDING_RERANK_MODEL"):
        CrossEncoder(str(copy), None, device="cpu").scores("a", ["b"])


def test_formats_that_can_run_code_and_code_of_a_model(folder: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "bin"
    shutil.copytree(folder, copy)
    [file] = copy.rglob("*.safetensors")
    file.rename(file.with_name("pytorch_model.bin"))
    with pytest.raises(ModelUnavailableError, match="has no safetensors weights"):
        CrossEncoder(str(copy), None, device="cpu").scores("a", ["b"])

    copy = tmp_path / "code"
    shutil.copytree(folder, copy)
    marker = tmp_path / "was-run"
    (copy / "modeling_own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.C", "AutoModel": "modeling_own.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailableError, match="cannot be loaded as a cross-encoder"):
        CrossEncoder(str(copy), None, device="cpu").scores("a", ["b"])
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "revision", "error", "message"),
    [
        ("./nowhere", None, ConfigurationError, "EMBEDDING_RERANK_MODEL: there is no folder ./nowhere"),
        ("a/b/c", None, ConfigurationError, "there is no folder a/b/c"),
        ("not a name!", None, ConfigurationError, "neither a folder nor a model's name"),
        ("cross-encoder/nowhere", None, ModelUnavailableError, "hf download cross-encoder/nowhere`"),
        ("cross-encoder/nowhere", "abc", ModelUnavailableError, "hf download cross-encoder/nowhere --revision abc`"),
    ],
)
def test_models_that_are_not_there(name: str, revision: str | None, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        CrossEncoder(name, revision, device="cpu").scores("a", ["b"])


def test_a_folder_has_no_revision(folder: Path):
    with pytest.raises(ConfigurationError, match="EMBEDDING_RERANK_REVISION has no meaning"):
        CrossEncoder(str(folder), "abc", device="cpu").scores("a", ["b"])
