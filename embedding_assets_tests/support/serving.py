"""Services that answer: in a thread of the test, or by the command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from embedding_assets.config import Settings
from embedding_assets.serving.listening import listening
from embedding_assets.serving.server import make_server
from embedding_assets_tests.support import processes

KEY = "a-key-of-this-test-0123456789"
COMMAND = [sys.executable, "-c", "from embedding_assets.cli.entry import main; main()", "serve"]


def with_limits(settings: Settings, **limits: object) -> Settings:
    """Settings with other ones of the service."""
    return settings.model_copy(update={"serve": settings.serve.model_copy(update=limits)})


@contextmanager
def served(settings: Settings, *, ready: bool = True) -> Iterator[httpx2.Client]:
    """A client of a service on a real socket, in a thread of this process."""
    with listening("127.0.0.1", 0, settings.serve) as at:
        server = make_server(settings, at)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at.socket]})
        thread.start()
        try:
            with httpx2.Client(base_url=at.address, timeout=90, trust_env=False) as client:
                wait_for(client, ready=ready)
                yield client
        finally:
            server.should_exit = True
            thread.join(180)
            assert not thread.is_alive()


@dataclass
class Process:
    """The command in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.address, timeout=90, trust_env=False, **options)

    def stop(self, how: int) -> int:
        """Send a signal; returns the exit status."""
        self.process.send_signal(how)
        return self.process.wait(180)


def start(log: Path, *options: str, **environment: str) -> Process:
    """Start it on a free port, unless ``options`` say otherwise."""
    where = [] if "--socket" in options else ["--port", "0"]
    with log.open("ab") as stream:
        process = processes.start(
            [*COMMAND, "--json", *where, *options],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env={**os.environ, **environment},
        )
    line = process.stdout.readline()
    assert line, log.read_text("utf-8")
    return Process(process, json.loads(line)["address"], log)


def wait_for(client: httpx2.Client, *, ready: bool = True, seconds: float = 180) -> None:
    """Until the service is ready, or at least lives."""
    deadline = time.monotonic() + seconds
    while True:
        assert time.monotonic() < deadline, "the service is not ready"
        try:
            response = client.get("/healthz")
        except httpx2.TransportError:
            response = None
        if response is not None and (response.status_code == 200 or not ready):
            return
        time.sleep(0.05)
