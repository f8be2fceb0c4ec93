"""Requests a second to an API, by the distance of the database that keeps its limits and its costs.

One process, requests of one text, a server that answers at once: nothing but admission and settlement takes time. Run:
make bench-admission
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from api import create_database
from delay import delayed
from report import Aim, Result, Row, interleave, publish
from servers import own_server

from embedding_assets.config import BudgetConfig, DatabaseConfig, OpenAIConfig
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.schema import migrate
from embedding_assets.providers.openai.provider import OpenAIProvider

REQUESTS_BY_MILLISECONDS = {0: 400, 2: 300, 10: 150}
WARM_REQUESTS = 40
SERVER = """
import sys
from fake_api.server import ApiServer
with ApiServer() as server:
    print(server.url, server.api_key, flush=True)
    sys.stdin.read()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        url = create_database(stack.enter_context(own_server()), "admission")
        address, key = stack.enter_context(api_server())
        ways = {}
        for milliseconds, requests in REQUESTS_BY_MILLISECONDS.items():
            distant = stack.enter_context(delayed(url, milliseconds / 1000))
            database = stack.enter_context(Database(distant, DatabaseConfig()))
            migrate(database)
            config = OpenAIConfig(base_url=address, api_key=key, max_inputs=1)
            provider = OpenAIProvider(config, BudgetConfig(), database)
            embed(provider, WARM_REQUESTS)  # until as many are in flight as may be
            ways[f"{milliseconds} ms"] = partial(embed, provider, requests)
        rates = interleave(ways, rounds)
    publish(
        Result(
            name="admission",
            title="Requests to an API, by the round trip to the database",
            unit="requests/s",
            rows=[Row(label, values) for label, values in rates.items()],
            aims=[Aim("requests a second at 10 ms", sorted(rates["10 ms"])[rounds // 2], 30)],
            facts={"texts a request": 1, "requests": REQUESTS_BY_MILLISECONDS, "rounds": rounds, "processes": 1},
        )
    )


def embed(provider: OpenAIProvider, requests: int) -> float:
    """Requests a second."""
    started = time.monotonic()
    done = sum(len(batch.indices) for batch in provider.embed([f"text {number}" for number in range(requests)]))
    if done != requests:
        raise RuntimeError(f"{done} of {requests} texts were embedded")
    return requests / (time.monotonic() - started)


@contextmanager
def api_server() -> Iterator[tuple[str, str]]:
    """The tests' server in a process of its own; gives its address and its key."""
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        try:
            address, key = server.stdout.readline().split()
            yield address, key
        finally:
            server.stdin.close()


if __name__ == "__main__":
    main()
