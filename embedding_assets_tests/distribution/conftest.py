"""A Ray cluster for the tests of a file, and for each a fresh database where the cluster's nodes look for it."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from psycopg.conninfo import make_conninfo

from embedding_assets.postgres.url import normalize_url
from embedding_assets_tests.support import processes

API_KEY = "sk-of-the-nodes"

CLIENT = {
    # A cluster on loopback is found on loopback alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid.uuid4().hex,
}
"""What a process needs that is to find the cluster."""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A running cluster.

    Attributes:
        address: to connect to.
        folder: of its sessions and their logs.
        database: name of the one that its nodes look for.
        process: that started it, and is the parent of all others.
    """

    address: str
    folder: Path
    database: str
    process: psutil.Process

    def workers(self) -> list[psutil.Process]:
        """The processes of workers that are there now, those that start included."""
        found = []
        for child in self.process.children(recursive=True):
            try:
                if child.cmdline()[0].startswith("ray::Worker") and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
            except (psutil.NoSuchProcess, IndexError):
                continue
        return found


@pytest.fixture(scope="module")
def ray_cluster(server_url: str, data_dir: Path) -> Iterator[RayCluster]:
    """Two cores, and what is secret in the environment of its nodes."""
    name = f"test_{uuid.uuid4().hex}"
    # Not a test's own folder, which is too long a path for a socket.
    folder = data_dir / f"r{os.getpid()}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDDING_", "OPENAI_"))}
    environment = {
        **own,
        "EMBEDDING_DATABASE_URL": normalize_url(make_conninfo(server_url, dbname=name)),
        "EMBEDDING_OPENAI_API_KEY": API_KEY,
        "HF_HUB_OFFLINE": "1",
        **CLIENT,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "embedding_assets_tests.support.ray_cluster", str(folder)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield RayCluster(process.stdout.readline().strip(), folder, name, psutil.Process(process.pid))
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process, and those it starts, find the cluster."""
    for name, value in CLIENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def start(ray_cluster: RayCluster, settings: object, client: None) -> Callable[..., subprocess.Popen[str]]:
    """Start ``embedding-assets embed`` on the cluster, or with ``ray=()`` without."""

    def start(*arguments: str, ray: tuple[str, ...] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from embedding_assets.cli.entry import main; main()", "embed", "--json"]
        ray = ("--ray", ray_cluster.address, "--workers", "2") if ray is None else ray
        return processes.start([*command, *ray, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start
