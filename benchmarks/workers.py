"""The other side of ``peers/serve.py``: one process for each compared way, of which only one works at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from environments import HERE, PeerUnavailableError


class Worker:
    """A program of ``peers/``, started and ready.

    Args:
        module: its name in ``peers/``.
        job: its argument, sent as JSON.
        python: the interpreter; default: this one.
        environment: variables to add; None removes one.

    Raises:
        PeerUnavailableError: it could not make itself ready.
    """

    def __init__(
        self,
        module: str,
        job: Mapping[str, object],
        *,
        python: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the worker)
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", f"peers.{module}", json.dumps(job)],
            cwd=HERE,
            env=offline_environment(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.facts = self._answer()
        self.peak_memory_mb = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(self, command: str = "run") -> dict[str, Any]:
        """Do the work, or the one of several that ``command`` names, once; returns the worker's answer.

        Raises:
            PeerUnavailableError: the worker failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.peak_memory_mb = answer["peak_memory_mb"]
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            self.close()
            raise PeerUnavailableError(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f"ended with status {status}: {lines[-1] if lines else 'without a word'}"


def run_module(module: str, *arguments: str, python: Path) -> None:
    """Run a program of ``peers/`` to its end.

    Raises:
        PeerUnavailableError: it failed.
    """
    done = subprocess.run(
        [str(python), "-m", f"peers.{module}", *arguments],
        cwd=HERE,
        env=offline_environment({}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise PeerUnavailableError(lines[-1] if lines else f"ended with status {done.returncode}")


def offline_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with changes, for a program that must not look for models on a network."""
    merged = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **changes}
    return {name: value for name, value in merged.items() if value is not None}
