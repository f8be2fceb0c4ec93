"""Spaces are renamed and dropped by command, after a question."""

import io
import json
import re
import shutil
import sys

import pytest

from embedding_assets.postgres.spaces import list_spaces
from embedding_assets.postgres.usage.ledger import list_costs
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model
from fake_api.server import ApiServer

TEXTS = [f"text number {number}" for number in range(30)]


@pytest.fixture
def server():
    with ApiServer() as server:
        yield server


@pytest.fixture
def by_api(run, server, database, monkeypatch):
    """A table that an API has embedded."""
    monkeypatch.setenv("EMBEDDING_PROVIDER", "openai")
    monkeypatch.setenv("EMBEDDING_OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", server.api_key)
    insert_chunks(database, TEXTS)
    assert run("embed")[0] == 0
    [column] = list_spaces(database)
    return column


def answer(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n"))


def test_a_server_gets_a_name_and_nothing_is_paid_again(run, by_api, server, database, monkeypatch):
    monkeypatch.setenv("EMBEDDING_OPENAI_SERVER", "gateway")
    code, _, err = run("embed")
    assert (code, f"run `embedding-assets spaces rename {by_api.space.name}`" in " ".join(err.split())) == (2, True)

    asked = sum(request.inputs for request in server.served)
    answer(monkeypatch, "n")
    code, out, err = run("spaces", "rename", "openai")
    assert code == 1
    assert (
        f"revision {by_api.space.revision} becomes gateway. 8 of its vectors were computed there, and are the same."
        in err
    )
    assert list_spaces(database) == [by_api]

    answer(monkeypatch, "y")
    code, out, _ = run("spaces", "rename", "openai")
    [column] = list_spaces(database)
    assert (code, out.strip()) == (0, f"{by_api.space.name} is called {column.space.name} now.")
    assert (column.space.revision, column.name) == ("gateway", by_api.name)
    assert sum(request.inputs for request in server.served) == asked + 16, "8 texts a question"
    assert run("embed")[1] == "Nothing to embed.\n"
    assert run("search", "number 7")[0] == 0

    monkeypatch.setenv("EMBEDDING_OPENAI_SERVER", "another")
    shown = json.loads(run("spaces", "rename", "openai", "--yes", "--json")[1])
    assert (shown["before"], shown["changed"], shown["compared"]) == (column.space.name, "revision", 8)
    assert shown["name"] == list_spaces(database)[0].space.name


def test_a_new_address_of_the_same_model(run, by_api, database, monkeypatch):
    with ApiServer() as elsewhere:
        monkeypatch.setenv("EMBEDDING_OPENAI_BASE_URL", elsewhere.url)
        monkeypatch.setenv("EMBEDDING_OPENAI_API_KEY", elsewhere.api_key)
        assert run("spaces", "rename", "openai", "--yes")[0] == 0
        [column] = list_spaces(database)
        assert column.space.revision in elsewhere.url
        assert run("embed")[1] == "Nothing to embed.\n"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "the settings lead to space openai-"),
        ({"OPENAI_MODEL": "other"}, "describe another model than that of space .*: model is 'other', not 'text-emb"),
        ({"OPENAI_SERVER": "x", "OPENAI_DIMENSIONS": "8"}, "revision is 'x', not .*; dimensions is 8, not 768"),
        ({"OPENAI_EXTRA_BODY": '{"task": "a"}'}, "Only the server or the folder of a space's model can have another"),
    ],
)
def test_another_model_is_another_space(run, by_api, database, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(f"EMBEDDING_{name}", value)
    code, _, err = run("spaces", "rename", "openai", "--yes")
    assert code == 2
    assert re.search(message, " ".join(err.split()))
    assert list_spaces(database) == [by_api]


def test_a_server_with_other_vectors_is_found_out(run, by_api, database, monkeypatch):
    database.run(
        lambda c: c.execute("UPDATE knowledge_base SET embedding = array_fill(-1, ARRAY[768])::vector * embedding")
    )
    monkeypatch.setenv("EMBEDDING_OPENAI_SERVER", "gateway")
    code, _, err = run("spaces", "rename", "openai", "--yes")
    assert (code, "it is another model" in " ".join(err.split())) == (2, True)
    assert list_spaces(database) == [by_api]


def test_a_folder_gets_another_name(run, database, monkeypatch, tmp_path):
    folder = save_tiny_model(tmp_path / "before")
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(folder))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))
    insert_chunks(database, TEXTS)
    assert run("embed")[0] == 0
    shutil.copytree(folder, tmp_path / "after")
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(tmp_path / "after"))
    assert "spaces rename local-before" in " ".join(run("embed")[2].split())
    assert run("spaces", "rename", "local", "--yes")[0] == 0
    assert [column.space.model for column in list_spaces(database)] == ["after"]
    assert run("embed")[1] == "Nothing to embed.\n"


def test_a_space_is_dropped_after_a_question(run, by_api, database, monkeypatch):
    monkeypatch.setenv("EMBEDDING_PROVIDER", "local")
    assert run("embed")[0] == 0
    local = list_spaces(database)[1]
    assert run("spaces", "use", "local")[0] == 0
    paid = list_costs(database, by="space")

    answer(monkeypatch, "n")
    code, out, err = run("spaces", "drop", "openai")
    assert (code, out.strip()) == (1, "")
    assert f"30 vectors of space {by_api.space.name} and its index, " in err
    assert len(list_spaces(database)) == 2

    answer(monkeypatch, "y")
    code, out, _ = run("spaces", "drop", "openai")
    assert (code, out.strip().startswith(f"Dropped {by_api.space.name}. PostgreSQL uses its room again")) == (0, True)
    assert [column.space for column in list_spaces(database)] == [local.space]
    assert list_costs(database, by="space") == paid
    assert run("search", "number 7")[0] == 0
    assert run("embed")[1] == "Nothing to embed.\n"


def test_a_space_in_use_is_dropped_only_by_force(run, by_api, database):
    code, _, err = run("spaces", "drop", "openai", "--yes")
    assert code == 2
    found = f"space {by_api.space.name} serves searches and is the one that the settings lead to; let another serve"
    assert found in " ".join(err.split())
    assert list_spaces(database) == [by_api]
    shown = json.loads(run("spaces", "drop", "openai", "--yes", "--force", "--json")[1])
    assert (shown["dropped"], shown["vectors"], shown["size_bytes"] > 30 * 3072) == (by_api.space.name, 30, True)
    assert list_spaces(database) == []
    assert run("embed")[0] == 0
    assert list_spaces(database) == [by_api], "embedded again"
