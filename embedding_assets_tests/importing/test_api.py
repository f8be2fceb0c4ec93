"""Imports where an API makes the vectors: it is sent the sample, and no other text."""

import json
from decimal import Decimal

import numpy as np
import pytest

from embedding_assets_tests.support.api_runs import configure
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.foreign import make_langchain, make_pgai, other_model
from fake_api.answers import api_vectors_of
from fake_api.server import ApiServer


@pytest.fixture
def server(settings, monkeypatch):
    with ApiServer(usd_per_million_tokens=Decimal(2000)) as server:
        configure(monkeypatch, server)
        yield server


def vectors_of(texts, dimensions=768):
    return np.asarray(api_vectors_of(list(texts), dimensions), dtype=np.float32)


def test_only_the_sample_is_sent_and_its_cost_is_said(run, server, database, beside, texts):
    make_langchain(beside, texts, vectors_of(texts))
    code, out, err = run("import", "langchain")
    assert code == 0, err
    assert "16 texts of the sample are sent to text-embedding-3-small: about " in err
    assert "No other text is." in err
    assert "80 vectors of collection library of LangChain taken over" in out
    assert sum(served.inputs for served in server.served) == len(server.seen) == 16
    assert json.loads(run("costs", "--json")[1])["total"]["embeddings"] == 16

    sent = len(server.served)
    assert run("import", "langchain")[0] == 0
    assert run("embed", "--no-index")[0] == 0
    assert len(server.served) == sent
    insert_chunks(database, ["what is missing"])
    assert json.loads(run("embed", "--no-index", "--json")[1])["embedded"] == 1
    assert len(server.seen) == 17


def test_other_vectors_are_refused_without_another_text(refused, server, database, beside, texts):
    make_langchain(beside, texts, other_model(vectors_of(texts)))
    assert "of another model" in refused("langchain")
    assert len(server.seen) == 16


def test_other_dimensions_are_refused_without_any_text(refused, server, database, beside, texts):
    make_langchain(beside, texts, vectors_of(texts, 1536))
    said = refused("langchain")
    assert "they have 1,536 dimensions" in said
    assert "EMBEDDING_OPENAI_DIMENSIONS=1536" in said
    assert not server.served


def test_a_limit_in_dollars_holds(run, server, database, beside, texts, monkeypatch):
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "0.001")
    make_langchain(beside, texts, vectors_of(texts))
    code, _, err = run("import", "langchain")
    assert (code, "EMBEDDING_BUDGET_USD_PER_DAY" in err) == (1, True)
    assert not server.served
    assert beside.execute("SELECT count(*) FROM knowledge_base").fetchone() == (0,)


def test_a_vectorizer_says_which_model_of_openai(run, taken, refused, server, database, beside, texts, monkeypatch):
    monkeypatch.delenv("EMBEDDING_PROVIDER")
    embedding = {"implementation": "openai", "model": "text-embedding-3-large", "dimensions": 1024}
    make_pgai(beside, texts, lambda made: vectors_of(made, 1024), embedding=embedding, dimensions=1024)
    report = taken("pgai")
    assert (report["space"].startswith("openai-text-embedding-3-large-1024"), report["written"]) == (True, 160)
    assert {served.fields["model"] for served in server.served} == {"text-embedding-3-large"}
    assert sum(served.inputs for served in server.served) == 16

    assert run("sync", "blog.posts", "--key", "id", "--text", "body")[0] == 0
    assert json.loads(run("embed", "--no-index", "--json")[1])["embedded"] == 0

    monkeypatch.setenv("EMBEDDING_OPENAI_MODEL", "text-embedding-3-small")
    assert "EMBEDDING_OPENAI_MODEL is text-embedding-3-small" in refused("pgai")
