import json
from collections.abc import Callable
from typing import Any

import pytest

from embedding_assets_tests.support.foreign import make_articles, sentences, vectors_of


@pytest.fixture
def texts() -> list[str]:
    return sentences(80)


@pytest.fixture
def taken(run) -> Callable[..., dict[str, Any]]:
    """Import something that is accepted; returns the report."""

    def take(*arguments: object) -> dict[str, Any]:
        code, out, err = run("import", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return take


@pytest.fixture
def refused(run) -> Callable[..., str]:
    """Import something that is refused; returns what is said."""

    def take(*arguments: object) -> str:
        code, out, err = run("import", *arguments, "--json")
        assert (code, out) == (2, ""), (out, err)
        return err

    return take


@pytest.fixture
def articles(settings, beside, run, texts) -> None:
    """An adopted table whose column ``vec`` the demo model has filled."""
    make_articles(beside, texts, vectors_of(settings, texts))
    adopt(run)


def adopt(run, text: str = "body") -> None:
    code, _, err = run("adopt", "articles", "--text", text, "--column", "vec", "--yes", "--json")
    assert code == 0, err
