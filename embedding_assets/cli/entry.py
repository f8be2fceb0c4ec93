"""The entry of the command: signals first, so that none of them ends in a traceback; then all that takes long."""

from __future__ import annotations

import sys

from embedding_assets.cli.stopping import exit_status, heed_termination
from embedding_assets.encoder.threads import let_threads_sleep
from embedding_assets.imports import without_collection


def main() -> None:
    """Run the command line; being stopped is one line and an exit status."""
    heed_termination()
    let_threads_sleep()
    try:
        with without_collection():
            from embedding_assets.cli.app import main as run
        run()
    except KeyboardInterrupt as stop:
        sys.stderr.write("Stopped.\n")
        sys.exit(exit_status(stop))


if __name__ == "__main__":
    main()
