"""A model's files: found in the cache or fetched, and described without loading the model."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast, get_args

from tokenizers import Tokenizer

from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
from embedding_assets.encoder import demo_model
from embedding_assets.encoder.digests import sha256
from embedding_assets.encoder.folder_name import folder_name
from embedding_assets.errors import ConfigurationError, ModelUnavailableError
from embedding_assets.spaces import Similarity

logger = logging.getLogger(__name__)

_IF_DAMAGED: Final = "if the folder is damaged, remove it so that it is fetched again"

_MATRYOSHKA: Final = (
    r"nomic-embed-text-v1\.5|nomic-embed-text-v2|mxbai-embed-(large|2d)|arctic-embed-(m-v1\.5|.*v2)|embedding-?gemma"
    r"|qwen3-embedding|jina-embeddings-v[345]|static-(retrieval|similarity)|matryoshka"
)
"""Families whose makers say that vectors may be cut, on their cards at hf.co."""

_SENTENCE_CONFIGS: Final = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")

_POSITIONS_BEHIND_PADDING: Final = {"camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}
"""Architectures that count a text's positions from behind that of their padding token."""

SENTENCES: Final = "sentence_embedding"
"""Name under which layers hand the vectors of texts on."""

# Weights as safetensors only: the other formats can execute code when they are read.
_PATTERNS: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "*/config.json", "*/*.safetensors"]


_BY_CONTENT: Final = "sha256:"


@dataclass(frozen=True)
class ModelFiles:
    """A sentence-transformers model on disk.

    Attributes:
        name: as configured; of a folder, what tells something of its path.
        revision: commit of the repository, or ``sha256:`` and the beginning of a hash of the files.
        path: folder with ``modules.json``.
    """

    name: str
    revision: str
    path: Path

    @property
    def is_known_by_content(self) -> bool:
        """True if models of this revision are equal, whatever their names."""
        return self.revision.startswith(_BY_CONTENT)

    @cached_property
    def modules(self) -> list[tuple[str, Path]]:
        """The model's layers in order: class name, with its package unless it is sentence-transformers', and folder."""
        try:
            return [(_kind(module["type"]), self.path / module["path"]) for module in self._json("modules.json")]
        except (KeyError, TypeError, AttributeError):
            raise ModelUnavailableError(f"{self.path / 'modules.json'} does not describe a model") from None

    @property
    def transformer(self) -> Path:
        """Folder of the transformer's, or the static embedding's, configuration, weights and tokenizer."""
        for kind, folder in self.modules:
            if kind in ("Transformer", "StaticEmbedding"):
                return folder
        # Within a router, whose documents come before its queries.
        return next((file.parent for file in sorted(self.path.rglob("tokenizer.json"))), self.path)

    @property
    def sentence_config(self) -> dict[str, Any]:
        """What sentence-transformers keeps beside the transformer's own configuration, under several names."""
        files = (self.transformer / f"sentence_{kind}_config.json" for kind in _SENTENCE_CONFIGS)
        found: dict[str, Any] = next((read_json(file) for file in files if file.is_file()), {})
        return found

    @cached_property
    def dimensions(self) -> int | None:
        """Length of the model's vectors, cut where its files say so; None if a layer is of a kind unknown here."""
        return self._cut or self._width

    @property
    def may_be_cut(self) -> bool:
        """True if the beginnings of its vectors are vectors too (Matryoshka), by its files or its family's name."""
        return self._cut is not None or re.search(_MATRYOSHKA, self.name.lower()) is not None

    @property
    def _cut(self) -> int | None:
        size: int | None = self._json("config_sentence_transformers.json").get("truncate_dim")
        return size

    @cached_property
    def _width(self) -> int | None:
        size: int | None = None
        for kind, folder in self.modules:
            if kind == "Transformer":
                size = read_json(folder / "config.json").get("hidden_size")
            elif kind == "StaticEmbedding":
                size = _columns(folder / "model.safetensors")
            elif kind == "Pooling":
                # Several modes lie side by side.
                size = None if size is None else size * len(pooling_modes(read_json(folder / "config.json")))
            elif kind == "Dense":
                size = read_json(folder / "config.json").get("out_features")
            elif kind not in ("Normalize", "Dropout", "LayerNorm"):
                return None
        return size

    @cached_property
    def normalized(self) -> bool:
        """True if the model returns unit vectors."""
        # A layer behind it makes other lengths again.
        computing = [(kind, folder) for kind, folder in self.modules if kind != "Dropout"]
        return bool(computing) and computing[-1][0] == "Normalize" and is_about_sentences(computing[-1][1])

    @cached_property
    def prompt(self) -> str:
        """The model's prompt for a document, put in front of it."""
        return self._prompt_for("document", "passage", "corpus")

    @cached_property
    def query_prompt(self) -> str:
        """The model's prompt for a query, put in front of it."""
        return self._prompt_for("query")

    @cached_property
    def similarity(self) -> Similarity:
        """What the model was trained to be compared by; the cosine where its files do not say."""
        name = self._json("config_sentence_transformers.json").get("similarity_fn_name") or "cosine"
        if name not in get_args(Similarity):
            raise ModelUnavailableError(
                f"model {self.name} compares vectors by {name!r}, which pgvector has no index for"
            )
        return cast("Similarity", name)

    def max_tokens(self, limit: int) -> int:
        """Tokens of a text that are read: the model's own limit, at most ``limit``."""
        own = self.sentence_config.get("max_seq_length")
        # Where the model does not say, its tokenizer does; some models have more positions than they can use.
        own = own or read_json(self.transformer / "tokenizer_config.json").get("model_max_length")
        config = read_json(self.transformer / "config.json")
        positions = config.get("max_position_embeddings") or 0
        if config.get("model_type") in _POSITIONS_BEHIND_PADDING:
            positions -= 1 + (config.get("pad_token_id") or 0)
        # XLNet says -1, for any number.
        return min(int(value) for value in (limit, own, positions) if value and value > 0)

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, without truncation or padding."""
        file = self.transformer / "tokenizer.json"
        if not file.is_file():
            raise ModelUnavailableError(f"model {self.name} has no tokenizer.json; choose another EMBEDDING_MODEL_NAME")
        try:
            tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        except Exception:  # noqa: BLE001 (the library raises nothing more specific)
            raise ModelUnavailableError(f"{file} cannot be read as a tokenizer; {_IF_DAMAGED}") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _prompt_for(self, *names: str) -> str:
        """The first of these prompts that the model has, even if that is empty.

        Its default prompt is for calls that are neither: ``encode_query`` and ``encode_document`` leave it out as well.
        """
        prompts = self._json("config_sentence_transformers.json").get("prompts") or {}
        return str(next((prompts[name] for name in names if prompts.get(name) is not None), ""))

    def _json(self, name: str) -> Any:
        return read_json(self.path / name)


def locate_model(name: str, revision: str | None, *, data_dir: Path, timeout_seconds: float) -> ModelFiles:
    """Find the files of a model: a folder, the demo model, the local cache, or the hub, in this order.

    Raises:
        ModelUnavailableError: neither cached nor reachable, or unusable; the message says what to do.
    """
    if name == demo_model.NAME:
        files = ModelFiles(name, demo_model.REVISION, demo_model.build(data_dir / "models"))
    elif is_folder(name):
        path = Path(name).expanduser().resolve()
        if revision is not None:
            raise ConfigurationError("EMBEDDING_MODEL_REVISION has no meaning for a model folder; unset it")
        files = ModelFiles(folder_name(path), _content_revision(path), path)
    else:
        path = _from_hub(name, revision, timeout_seconds)
        files = ModelFiles(name, path.name, path)
    _check_usable(files)
    return files


def pooling_modes(config: Mapping[str, Any]) -> list[str]:
    """The modes that are on in a pooling layer's configuration, which has one name, several, or a flag for each."""
    if "pooling_mode" in config:
        modes = config["pooling_mode"]
        return [modes] if isinstance(modes, str) else list(modes)
    prefix = "pooling_mode_"
    flags = [name.removeprefix(prefix) for name, on in config.items() if name.startswith(prefix) and on]
    return [name.removesuffix("_tokens").removesuffix("_token") for name in flags] or ["mean"]


def is_about_sentences(layer: Path) -> bool:
    """True if a layer works on the vectors of texts, and not on those of tokens."""
    config = read_json(layer / "config.json")
    return all(config.get(f"module_{end}_name", SENTENCES) == SENTENCES for end in ("input", "output"))


def is_folder(name: str) -> bool:
    """True if a model's name is that of an existing folder."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # too long for a file system, ~ of no user, NUL
        return False


def _from_hub(name: str, revision: str | None, timeout_seconds: float) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if "/" not in name:
        name = f"sentence-transformers/{name}"
    download = f"hf download {name}" + (f" --revision {revision}" if revision else "")
    if (name, revision) == (DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION):
        download = "embedding-assets fetch-model"
    # A folder that does not exist reads like a repository name; only the latter has exactly one slash.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigurationError(f"EMBEDDING_MODEL_NAME: there is no folder {name}")
    lacking = ""
    try:
        cached = _from_cache(name, revision)
    except HFValidationError:
        raise ConfigurationError(f"EMBEDDING_MODEL_NAME: {name!r} is neither a folder nor a model's name") from None
    except FileNotFoundError:
        logger.info("model is not cached, asking the hub", extra={"model": name})
    except ModelUnavailableError as unusable:
        # Something else may have fetched a part of it, or a download was interrupted.
        logger.info("model is cached in part, asking the hub", extra={"model": name})
        lacking = f" (in part: {unusable})"
    else:
        return cached
    try:
        _reach_hub(name, revision, timeout_seconds)
        return Path(snapshot_download(name, revision=revision, allow_patterns=_PATTERNS, etag_timeout=timeout_seconds))
    except GatedRepoError:
        raise ModelUnavailableError(f"model {name} needs a login: run `hf auth login`, then try again") from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise ModelUnavailableError(
            f"the hub has no model {name} at revision {revision or 'main'}; "
            "check EMBEDDING_MODEL_NAME and EMBEDDING_MODEL_REVISION"
        ) from None
    except Exception as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise ModelUnavailableError(
                f"the hub refuses access to model {name}; run `hf auth login`, or check HF_TOKEN, then try again"
            ) from None
        # The hub client raises whatever its HTTP library raises; all of it means "could not be fetched".
        raise ModelUnavailableError(
            f"model {name} is neither cached{lacking} nor could it be fetched ({type(error).__name__}). Fetch it where "
            f"there is a network with `{download}` and copy the cache (HF_HOME), set EMBEDDING_MODEL_NAME to a folder "
            "with the model, or try the small demo model: "
            f"{demo_model.INSTALL}, and set EMBEDDING_MODEL_NAME={demo_model.NAME}"
        ) from error


def _from_cache(name: str, revision: str | None) -> Path:
    """The model's folder in the cache.

    Raises:
        FileNotFoundError: nothing of it is cached.
        ModelUnavailableError: only a part of it is.
    """
    from huggingface_hub import snapshot_download

    try:
        cached = Path(snapshot_download(name, revision=revision, allow_patterns=_PATTERNS, local_files_only=True))
        _check_usable(ModelFiles(name, cached.name, cached))
    except FileNotFoundError as absent:
        # What is cached in part, newer versions of the hub's client name.
        partial = getattr(absent, "snapshot_path", None)
        if partial is None:
            raise
        path = Path(partial)
        _check_usable(ModelFiles(name, path.name, path))
        raise ModelUnavailableError(f"model {name} lacks files that its repository has") from None
    return cached


def _reach_hub(name: str, revision: str | None, timeout_seconds: float) -> None:
    """Fail within seconds where the hub does not answer: the download itself retries for minutes or waits forever."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    HfApi().model_info(name, revision=revision, timeout=timeout_seconds)


def _check_usable(files: ModelFiles) -> None:
    if not (files.path / "modules.json").is_file():
        raise ModelUnavailableError(f"{files.name} is no sentence-transformers model: it has no modules.json")
    for kind, folder in files.modules:
        # A layer of a kind unknown here has weights if it has a file of some other format.
        weighted = kind in ("Transformer", "StaticEmbedding", "Dense", "LayerNorm") or any(folder.glob("*.bin"))
        if weighted and not any(folder.glob("*.safetensors" if kind == "Transformer" else "model.safetensors")):
            raise ModelUnavailableError(
                f"model {files.name} has no safetensors weights for its {kind} layer; other formats can run code when "
                "they are read and are not loaded. Convert the model or choose another EMBEDDING_MODEL_NAME"
            )
        # Without it any guess would be some model's, but perhaps not this one's.
        if kind in ("Transformer", "Pooling", "Dense", "LayerNorm") and not (folder / "config.json").is_file():
            lacking = (folder / "config.json").relative_to(files.path)
            raise ModelUnavailableError(
                f"model {files.name} lacks {lacking}, which says how its {kind} layer computes; copy the whole folder, "
                "or remove it so that it is fetched again"
            )


def _kind(type_name: str) -> str:
    package, _, name = type_name.rpartition(".")
    # Another package's class of the same name computes something else.
    return name if package.partition(".")[0] == "sentence_transformers" else type_name


def _content_revision(path: Path) -> str:
    digest = hashlib.sha256()
    # Without a tokenizer.json these are what the tokenizer is made of.
    kinds = (".json", ".safetensors", *(() if any(path.rglob("tokenizer.json")) else (".txt", ".model")))
    for file in sorted(path.rglob("*")):
        if file.suffix in kinds and file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()}\x00".encode())
            digest.update(sha256(file))
    return f"{_BY_CONTENT}{digest.hexdigest()[:16]}"


def _columns(weights: Path) -> int | None:
    """Of the only table in a file of weights; None if there are several."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="numpy") as file:
            names = list(file.keys())
            return int(file.get_slice(names[0]).get_shape()[-1]) if len(names) == 1 else None
    except SafetensorError:
        raise ModelUnavailableError(f"{weights} cannot be read as weights; {_IF_DAMAGED}") from None


def read_json(file: Path) -> Any:
    """The content of one of a model's files; empty where there is none.

    Raises:
        ModelUnavailableError: it is not JSON.
    """
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelUnavailableError(f"{file} is not valid JSON; {_IF_DAMAGED}") from None
