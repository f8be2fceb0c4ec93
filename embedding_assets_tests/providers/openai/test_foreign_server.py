"""A server that others wrote, infinity-emb, with the published default model.

Skipped where its program is not on the PATH (``pip install 'infinity-emb[server,torch]'`` in an environment of its
own), or the model is not cached.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from embedding_assets.config import BudgetConfig, OpenAIConfig
from embedding_assets.encoder.files import ModelFiles
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.openai.provider import OpenAIProvider
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.calls import embed
from embedding_assets_tests.support.default_model import published_model
from embedding_assets_tests.support.encoding import cosines, loaded, real_texts

START_SECONDS = 120


@pytest.fixture(scope="module")
def published() -> ModelFiles:
    return published_model()


@pytest.fixture(scope="module")
def server_address(published: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("infinity_emb")
    if program is None:
        pytest.skip("infinity_emb is not on the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "v2", "--model-id", published.path, "--served-model-name", "all-mpnet-base-v2"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--url-prefix", "/v1", "--device", "cpu"]
    command += ["--engine", "torch", "--no-bettertransformer", "--dtype", "float32", "--no-model-warmup"]
    log = Path(tmp_path_factory.mktemp("infinity")) / "log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with log.open("wb") as stream:
        process = processes.start(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/v1"
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.5)
    yield address
    process.terminate()
    process.wait(180)


def _answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/models", timeout=2).is_success
    except httpx2.HTTPError:
        return False


def test_its_vectors_are_those_of_the_local_model(server_address: str, published: ModelFiles, database: Database):
    # Its batches of float32 take their time on a CPU; it cuts long texts by itself.
    texts = [text[:600] for text in real_texts(150)]
    config = OpenAIConfig(base_url=server_address, model="all-mpnet-base-v2", dimensions=768)
    result = embed(OpenAIProvider(config, BudgetConfig(), database), texts)
    assert not result.errors
    assert sorted(result.vectors) == list(range(len(texts)))
    model = loaded(published, 384)
    alone = np.vstack([model.encode(model.tokenize([text])) for text in texts])
    assert cosines(np.stack([result.vectors[row] for row in range(len(texts))]), alone).min() > 0.99999
