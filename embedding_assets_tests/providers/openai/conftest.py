"""A server that plays the API, and a provider that does not wait long before it tries again."""

from collections.abc import Iterator

import pytest
import tenacity

from embedding_assets.providers.openai import retries
from fake_api.server import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that embeds whatever it is given, unless a test has it fail."""
    with ApiServer() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any pause between two attempts."""
    monkeypatch.setattr(retries, "_BACKOFF", tenacity.wait_fixed(0.02))
