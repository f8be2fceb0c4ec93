"""A process that embeds with the fake provider, slowly, and notes each text before it encodes it.

Usage: python -m embedding_assets_tests.support.embedding_process NOTES SECONDS [arguments of `embedding-assets`]
"""

import os
import sys
import time
from pathlib import Path

from embedding_assets.postgres.spaces import register_space
from embedding_assets.providers import space_selection
from embedding_assets.providers.base import EmbeddedBatch
from embedding_assets_tests.support.fakes import FAKE_SPACE, FakeProvider, hash_of


def main() -> None:
    notes, seconds, *arguments = sys.argv[1:]

    def note(portion: list[str], batch: EmbeddedBatch) -> EmbeddedBatch:
        # One write to a file opened for appending: lines of several processes do not mix, and a kill loses none.
        with Path(notes).open("ab", buffering=0) as stream:
            stream.write("".join(f"{os.getpid()} {hash_of(text)}\n" for text in portion).encode())
        time.sleep(float(seconds))
        return batch

    provider = FakeProvider(batch_size=8, spoil=note)
    space_selection.Selection.open_provider = lambda _: provider
    space_selection.select_for_run = lambda settings, database, _=None: space_selection.Selection(
        settings, register_space(database, FAKE_SPACE), database
    )

    from embedding_assets.cli.entry import main as command

    sys.argv = ["embedding-assets", *(arguments or ["embed", "--json"])]
    command()


if __name__ == "__main__":
    main()
