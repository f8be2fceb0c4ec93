"""Fixtures of what is deployed."""

import pytest


@pytest.fixture(autouse=True)
def _uncounted(uncounted: None) -> None:
    """In all tests of this folder."""
