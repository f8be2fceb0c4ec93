"""Virtual environments of the peers, made when first needed: their packages pin other versions than ours."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".peers"


class PeerUnavailableError(Exception):
    """A way that cannot be run here; the message is the reason."""


def peer_python(name: str) -> Path:
    """The interpreter of the environment that ``peers/NAME.txt`` describes.

    Raises:
        PeerUnavailableError: it cannot be installed.
    """
    requirements = HERE / "peers" / f"{name}.txt"
    folder = FOLDER / name
    python = folder / "bin" / "python"
    marker = folder / "installed"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if marker.exists() and marker.read_text() == digest:
        return python
    print(f"installing {name} (some minutes)", file=sys.stderr, flush=True)
    _run("-m", "venv", "--clear", str(folder), python=Path(sys.executable))
    # First and alone, so that a build for this machine's CPU is taken where one is offered.
    torch = re.search(r"^torch==\S+", requirements.read_text(), re.MULTILINE)
    if torch:
        _run("-m", "pip", "install", "--quiet", torch[0], python=python)
    # The list is complete: what it leaves out, as torchvision, is not needed or has no build for a CPU.
    _run("-m", "pip", "install", "--quiet", "--no-deps", "-r", str(requirements), python=python)
    marker.write_text(digest)
    return python


def _run(*arguments: str, python: Path) -> None:
    done = subprocess.run([str(python), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise PeerUnavailableError(f"could not be installed: {errors[-1] if errors else 'no reason given'}")
