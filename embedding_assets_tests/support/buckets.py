"""A bucket of a real S3-compatible server, with faults on demand."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

import httpx2
import pytest

from embedding_assets_tests.support.stores import Server, forward_to, serving


@pytest.fixture(scope="session")
def moto() -> Iterator[tuple[str, int]]:
    """Host and port of moto's server."""
    from moto.server import ThreadedMotoServer

    requests = logging.getLogger("werkzeug")
    level = requests.level
    requests.setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()
    server.stop()
    requests.setLevel(level)


@pytest.fixture
def s3(moto: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An S3-compatible server, to which the environment leads."""
    with serving(forward_to(*moto)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secretcanary")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield server


class BucketOfTest:
    """A bucket that a test fills."""

    def __init__(self, name: str, server: str) -> None:
        from obstore.store import S3Store

        self.name = name
        self._server = server
        self._store = S3Store(name, endpoint=server, client_options={"allow_http": True})

    def put(self, **texts: str) -> None:
        """Objects by their stems, as Markdown; __ stands for a slash."""
        for name, text in texts.items():
            self.put_as(f"{name.replace('__', '/')}.md", text.encode())

    def put_as(self, name: str, content: bytes) -> None:
        self._store.put(name, content)

    def put_folder(self, name: str) -> None:
        """An object that stands for a folder, as consoles make them."""
        httpx2.put(f"{self._server}/{self.name}/{name}/").raise_for_status()

    def remove(self, name: str) -> None:
        self._store.delete(name)

    def url(self, path: str = "") -> str:
        return f"s3://{self.name}/{path}".rstrip("/")

    def path(self, name: str) -> str:
        """As a server is asked for it."""
        return f"/{self.name}/{name}"


@pytest.fixture
def bucket(s3: Server, moto: tuple[str, int]) -> BucketOfTest:
    """A bucket of that server, filled past what is counted and fails there."""
    name = f"b{uuid.uuid4().hex[:12]}"
    server = f"http://{moto[0]}:{moto[1]}"
    httpx2.put(f"{server}/{name}").raise_for_status()
    return BucketOfTest(name, server)
