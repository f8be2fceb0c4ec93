"""Commands that are stopped: by Ctrl-C, or by SIGTERM, which is heeded alike."""

from __future__ import annotations

import signal
from typing import Final

_INTERRUPTED: Final = 130
_TERMINATED: Final = 143
"""128 and the number of the signal, as shells report it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as systemd, containers and ``timeout`` send it; ends a command as Ctrl-C does."""


def exit_status(stop: KeyboardInterrupt) -> int:
    """The exit status of a command that was stopped."""
    return _TERMINATED if isinstance(stop, Terminated) else _INTERRUPTED


def heed_termination() -> None:
    """Have SIGTERM raise ``Terminated`` in the main thread from now on."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(*_: object) -> None:
    raise Terminated
