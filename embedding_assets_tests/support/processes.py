"""Processes that tests start. None outlives its test, however that ends."""

import subprocess
from contextlib import suppress
from typing import Any

_started: list[subprocess.Popen[Any]] = []


def start(command: list[Any], **options: Any) -> subprocess.Popen[Any]:
    """As ``subprocess.Popen``."""
    process = subprocess.Popen(command, **options)
    _started.append(process)
    return process


def end_all() -> None:
    """Kill what still runs, and close the pipes to all of them."""
    for process in _started:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        process.wait()
    _started.clear()
