"""Settings of one table: over those of the environment, without what belongs to another table, model or server."""

import re
import traceback
from decimal import Decimal

import pytest
from pydantic import SecretStr

from embedding_assets.config import get_settings
from embedding_assets.config.overlay import settings_with
from embedding_assets.errors import ConfigurationError


@pytest.mark.parametrize(
    ("variable", "value", "group", "field", "read"),
    [
        ("EMBEDDING_INDEX_M", "24", "index", "m", 24),
        ("EMBEDDING_INDEX_M", 24, "index", "m", 24),
        ("EMBEDDING_PREFIX_LENGTH", "2", "embedding", "prefix_length", 2),
        ("EMBEDDING_NEW_SPACE", "true", "embedding", "new_space", True),
        ("EMBEDDING_BUDGET_USD_PER_DAY", 0.1, "budget", "usd_per_day", Decimal("0.1")),
        ("EMBEDDING_RUN_TAGS", '{"dagster/priority": "1"}', "embedding", "run_tags", {"dagster/priority": "1"}),
        ("EMBEDDING_RUN_TAGS", {"a": {"b": 1}}, "embedding", "run_tags", {"a": {"b": 1}}),
        ("EMBEDDING_TABLE", "notes", "source", "relation", "notes"),
        ("EMBEDDING_TABLE_KEY", "id, lang", "source", "key", ("id", "lang")),
        ("EMBEDDING_TABLE_KEY", ["id", "a,b"], "source", "key", ("id", "a,b")),
        ("EMBEDDING_OPENAI_BASE_URL", "https://api.example.com", "openai", "base_url", "https://api.example.com"),
        ("EMBEDDING_OPENAI_API_KEY", "k", "openai", "api_key", SecretStr("k")),
    ],
)
def test_values_are_read_as_text_or_of_their_type(
    variable: str, value: object, group: str, field: str, read: object, monkeypatch: pytest.MonkeyPatch
):
    before = {"EMBEDDING_TABLE": "other", "EMBEDDING_INDEX_M": "8", "OPENAI_BASE_URL": "https://other.example.com"}
    for name, of_environment in {**before, "OPENAI_API_KEY": "of the environment"}.items():
        monkeypatch.setenv(name, of_environment)
    settings = settings_with({variable: value})
    assert getattr(getattr(settings, group), field) == read
    assert field in getattr(settings, group).model_fields_set


def test_what_is_not_said_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_INDEX_EF_SEARCH", "77")
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "5")
    settings = settings_with({"EMBEDDING_INDEX_M": 24})
    assert (settings.index.m, settings.index.ef_search, settings.embedding.batch_size) == (24, 77, 5)
    assert get_settings().index.m == 16


@pytest.mark.parametrize(
    ("variable", "value", "of_environment", "group", "fields"),
    [
        (
            "EMBEDDING_TABLE",
            "notes",
            {
                "EMBEDDING_TABLE": "other",
                "EMBEDDING_TABLE_KEY": "number",
                "EMBEDDING_TABLE_TEXT": "words",
                "EMBEDDING_TABLE_WHERE": "published",
                "EMBEDDING_TABLE_METADATA": "price",
                "EMBEDDING_TABLE_COLUMN": "vectors",
                "EMBEDDING_SCHEMA": "records_of_other",
            },
            "source",
            {"key": (), "text": None, "where": None, "metadata": (), "column": None, "records": None},
        ),
        (
            "EMBEDDING_DATABASE_URL",
            "postgresql://elsewhere/db",
            {"EMBEDDING_DATABASE_URL": "postgresql://here/db", "EMBEDDING_DATABASE_PASSWORD_FILE": "/run/password"},
            "database",
            {"password_file": None},
        ),
        (
            "EMBEDDING_MODEL_NAME",
            "own/model",
            {"EMBEDDING_MODEL_REVISION": "abc", "EMBEDDING_DIMENSIONS": "8", "EMBEDDING_QUERY_PROMPT": "query: "},
            "embedding",
            {"model_revision": None, "dimensions": 768, "query_prompt": None},
        ),
        (
            "EMBEDDING_OPENAI_MODEL",
            "text-embedding-3-large",
            {"EMBEDDING_OPENAI_MODEL": "text-embedding-ada-002", "EMBEDDING_OPENAI_DIMENSIONS": "1536"},
            "openai",
            {"dimensions": 768},
        ),
    ],
    ids=["table", "database", "model", "openai model"],
)
def test_what_the_environment_says_of_another_is_left_out(
    variable: str,
    value: str,
    of_environment: dict[str, str],
    group: str,
    fields: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
):
    for name, text in of_environment.items():
        monkeypatch.setenv(name, text)
    found = getattr(settings_with({variable: value}), group)
    assert {field: getattr(found, field) for field in fields} == fields
    assert not found.model_fields_set & fields.keys(), "they would count as said"


def test_what_is_said_beside_it_holds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_TABLE_TEXT", "words")
    settings = settings_with({"EMBEDDING_TABLE": "notes", "EMBEDDING_TABLE_TEXT": "body"})
    assert settings.source.text == "body"
    assert settings.source.model_fields_set == {"relation", "text"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"EMBEDDING_INDEX_N": 1}, r"EMBEDDING_INDEX_N is not a setting; did you mean EMBEDDING_INDEX_M\?"),
        (
            {"EMBEDDING_LOG_LEVEL": "DEBUG"},
            "EMBEDDING_LOG_LEVEL holds for the whole process; set it in the environment",
        ),
        ({"EMBEDDING_DATA_DIR": "/x"}, "EMBEDDING_DATA_DIR holds for the whole process; set it in the environment"),
        ({"EMBEDDING_INDEX_M": "x"}, "EMBEDDING_INDEX_M: Input should be a valid integer"),
        ({"EMBEDDING_INDEX_M": 1, "EMBEDDING_PROVIDER": "x"}, "EMBEDDING_INDEX_M: .*\nEMBEDDING_PROVIDER: "),
        ({"EMBEDDING_RUN_TAGS": "a=b"}, r"EMBEDDING_RUN_TAGS: is not JSON such as \{"),
    ],
)
def test_what_is_not_acceptable_is_named(values: dict[str, object], message: str):
    with pytest.raises(ConfigurationError) as raised:
        settings_with(values)
    assert re.match(message, str(raised.value))


@pytest.mark.parametrize(
    "values",
    [
        {"EMBEDDING_OPENAI_HEADERS": '{"api-key": hunter2'},
        {"EMBEDDING_OPENAI_HEADERS": ["hunter2"]},
        {"EMBEDDING_ALERT_WEBHOOK_URL": "hunter2"},
        {"EMBEDDING_DATABASE_PASSWORD_COMMAND": "hunter2 '"},
    ],
)
def test_errors_show_no_secret(values: dict[str, object]):
    with pytest.raises(ConfigurationError) as raised:
        settings_with(values)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
