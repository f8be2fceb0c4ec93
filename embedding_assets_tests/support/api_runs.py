"""Runs of the pipeline against the fake API server, and what they left in table and ledger."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest

from embedding_assets.config import Settings, get_settings
from embedding_assets.postgres.connection import Database
from embedding_assets_tests.support import processes
from embedding_assets_tests.support.generator_runs import stored
from fake_api.answers import api_vectors_of

if TYPE_CHECKING:
    from fake_api.server import ApiServer

WORDS = (
    "apple",
    "river",
    "of",
    "the",
    "quietly",
    "seventeen",
    "größer",
    "house;",
    "running,",
    "Embeddings",
    "12.5",
    "(old)",
)


def sentences(count: int, *, words: tuple[int, int] = (5, 40), seed: int = 0) -> list[str]:
    """Texts of varied length, all different."""
    chance = random.Random(seed)
    return [f"{number}: {' '.join(chance.choices(WORDS, k=chance.randint(*words)))}" for number in range(count)]


def environment(server: ApiServer, **changes: object) -> dict[str, str]:
    """Settings that lead to the server; ``openai_max_inputs=8`` is ``EMBEDDING_OPENAI_MAX_INPUTS``."""
    values = {
        "provider": "openai",
        "openai_base_url": server.url,
        "openai_api_key": server.api_key,
        "openai_usd_per_million_tokens": server.usd_per_million_tokens,
        **changes,
    }
    return {f"EMBEDDING_{name.upper()}": str(value) for name, value in values.items()}


def configure(monkeypatch: pytest.MonkeyPatch, server: ApiServer, **changes: object) -> Settings:
    """Settings that lead to the server, for this process and those it starts."""
    for name, value in environment(server, **changes).items():
        monkeypatch.setenv(name, value)
    return get_settings()


def start_run(prefixes: str = "0-f", **changes: str) -> subprocess.Popen[str]:
    """``embedding-assets embed`` in a process of its own."""
    arguments = ["embed", "--json", "--no-index", "--prefixes", prefixes]
    return processes.start(
        [sys.executable, "-c", "from embedding_assets.cli.entry import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **changes},
    )


def split_prefixes(processes: int) -> list[str]:
    """Ranges that share the table evenly: of 4, ``0-3`` to ``c-f``."""
    width = 16 // processes
    return [f"{start:x}-{start + width - 1:x}" for start in range(0, 16, width)]


@dataclass(frozen=True)
class Usage:
    """Rows of the ledger in one state."""

    requests: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)


def usage(connection: psycopg.Connection) -> dict[str, Usage]:
    """State → what the ledger says."""
    query = "SELECT state, count(*), sum(tokens), sum(usd) FROM embedding_usage GROUP BY state"
    return {state: Usage(count, int(tokens), usd) for state, count, tokens, usd in connection.execute(query)}


def assert_vectors(database: Database, expected: list[str]) -> None:
    """Exactly these texts are embedded, each with its own vector."""
    found = stored(database)
    assert set(found) == set(expected)
    right = api_vectors_of(list(found), 768)
    np.testing.assert_allclose(np.stack(list(found.values())), right, atol=1e-6)
