"""An API embeds a short text before its space is registered: what is wrong with it leaves nothing behind."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_assets import EmbeddingGenerator
from embedding_assets.config import Settings, get_settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.errors import (
    EmbeddingAssetsError,
    ModelUnavailableError,
    ProviderError,
    ProviderUnavailableError,
    SpaceMismatchError,
)
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces, register_space
from embedding_assets.postgres.usage.ledger import count_spending
from embedding_assets.providers.space_selection import select_for_run
from embedding_assets_tests.support.api_runs import configure, sentences
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.tiny_model import DIMENSIONS, save_tiny_model
from fake_api.server import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


def columns_and_indexes(database: Database) -> list[tuple]:
    query = """
        SELECT attname, atttypid::regtype::text, atttypmod FROM pg_attribute
        WHERE attrelid = 'knowledge_base'::regclass AND NOT attisdropped
        UNION ALL SELECT indexrelid::regclass::text, NULL, NULL FROM pg_index
        WHERE indrelid = 'knowledge_base'::regclass ORDER BY 1
    """
    return database.run(lambda connection: connection.execute(query).fetchall())


MISTAKES = {
    "key": ({"openai_api_key": "sk-wrong"}, "denies requests"),
    "model": ({"openai_model": "text-embedding-3-smal"}, "EMBEDDING_OPENAI_MODEL"),
    "dimensions": ({"openai_dimensions": 3000}, "EMBEDDING_OPENAI_DIMENSIONS"),
    "length": ({"openai_dimensions": 8, "openai_send_dimensions": "false"}, "answers with vectors of 1536"),
    "address": ({"openai_base_url": "{url}/nowhere"}, "EMBEDDING_OPENAI_BASE_URL"),
}


@pytest.mark.parametrize("beside", [False, True], ids=["first", "further"])
@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_leaves_nothing_behind(
    settings: Settings,
    database: Database,
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    message: str,
    beside: bool,
):
    before = [register_space(database, FAKE_SPACE)] if beside else []
    insert_chunks(database, sentences(5))
    state = columns_and_indexes(database)
    changes = {name: str(value).replace("{url}", server.url) for name, value in changes.items()}
    wrong = configure(monkeypatch, server, openai_retry_seconds=0, **changes)
    with pytest.raises(ProviderError, match=message):
        EmbeddingGenerator(wrong, database=database).generate_embeddings_batch()
    assert list_spaces(database) == before
    assert columns_and_indexes(database) == state


def test_one_short_text_is_paid_for_a_new_space_alone(
    settings: Settings, database: Database, server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    by_api = configure(monkeypatch, server, openai_usd_per_million_tokens=1000)
    column = select_for_run(by_api, database).column
    assert [request.inputs for request in server.served] == [1]
    assert float(count_spending(database, "").month) == pytest.approx(server.served[0].tokens / 1000)
    assert select_for_run(by_api, database).column == column
    with pytest.raises(SpaceMismatchError):
        register_and_fill(database, by_api)
    assert len(server.served) == 1, "neither a space that exists nor one that is refused is asked for"


def register_and_fill(database: Database, settings: Settings) -> None:
    insert_chunks(database, ["something"])
    database.run(lambda c: c.execute("UPDATE knowledge_base SET embedding = array_fill(1, ARRAY[768])::vector"))
    select_for_run(settings.with_group("openai", dimensions=8), database)


def test_without_a_fallback_an_outage_leaves_nothing_behind(
    settings: Settings, database: Database, server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    server.outage = True
    down = configure(monkeypatch, server, openai_retry_seconds=0)
    with pytest.raises(ProviderUnavailableError):
        select_for_run(down, database)
    assert list_spaces(database) == []


def test_with_a_fallback_an_outage_is_left_to_the_run(
    settings: Settings, database: Database, server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    server.outage = True
    insert_chunks(database, sentences(3))
    down = configure(monkeypatch, server, openai_retry_seconds=0, fallback="local", model_name=DEMO_MODEL)
    stats = EmbeddingGenerator(down, database=database).generate_embeddings_batch()
    assert stats.fallback is not None
    assert stats.fallback.embedded == 3
    assert [column.space.provider for column in list_spaces(database)] == ["openai", "local"]


def test_a_budget_holds_for_the_first_contact_too(
    settings: Settings, database: Database, server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    poor = configure(monkeypatch, server, openai_usd_per_million_tokens=1000, budget_usd_per_day="0.000001")
    with pytest.raises(EmbeddingAssetsError, match="EMBEDDING_BUDGET_USD_PER_DAY"):
        select_for_run(poor, database)
    assert (list_spaces(database), len(server.served)) == ([], 0)


def test_a_local_model_that_cannot_be_used_leaves_nothing_behind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = save_tiny_model(tmp_path / "tiny")
    settings = {**json.loads((folder / "config.json").read_text()), "auto_map": {"AutoModel": "modeling.Own"}}
    (folder / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", str(folder))
    monkeypatch.setenv("EMBEDDING_DIMENSIONS", str(DIMENSIONS))
    before = columns_and_indexes(database)
    with pytest.raises(ModelUnavailableError, match="code of its own repository"):
        select_for_run(get_settings(), database)
    assert list_spaces(database) == []
    assert columns_and_indexes(database) == before


@pytest.mark.parametrize("beside", [False, True], ids=["first", "further"])
def test_looking_only_changes_nothing_and_asks_nothing(
    settings: Settings, database: Database, server: ApiServer, monkeypatch: pytest.MonkeyPatch, beside: bool
):
    insert_chunks(database, sentences(3))
    if beside:
        select_for_run(settings, database)
    configure(monkeypatch, server, openai_dimensions=8)
    before = columns_and_indexes(database), list_spaces(database)

    selection = select_for_run(get_settings(), database, look_only=True)

    assert (selection.column.space.provider, selection.column.name) == ("openai", "")
    assert (columns_and_indexes(database), list_spaces(database)) == before
    assert server.requests == 0
    registered = select_for_run(get_settings(), database)
    assert registered.column.space == selection.column.space
    assert select_for_run(get_settings(), database, look_only=True).column == registered.column


def test_looking_only_refuses_what_a_run_would(
    settings: Settings, database: Database, server: ApiServer, monkeypatch: pytest.MonkeyPatch
):
    select_for_run(settings, database)
    monkeypatch.setenv("EMBEDDING_DOCUMENT_PROMPT", "passage: ")
    with pytest.raises(SpaceMismatchError, match="EMBEDDING_DOCUMENT_PROMPT"):
        select_for_run(get_settings(), database, look_only=True)
