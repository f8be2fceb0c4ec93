"""Settings sent to another machine."""

import pickle
from pathlib import Path

import pytest

from embedding_assets.config import get_settings
from embedding_assets.distribution.portable import PortableSettings
from embedding_assets.errors import ConfigurationError

SECRETS = {
    "EMBEDDING_DATABASE_URL": "postgresql://me:s3cret@db/x",
    "EMBEDDING_OPENAI_API_KEY": "sk-s3cret",
    "EMBEDDING_OPENAI_HEADERS": '{"x-key": "s3cret"}',
    "EMBEDDING_OPENAI_QUERY_PARAMETERS": '{"sig": "s3cret"}',
    "EMBEDDING_ALERT_WEBHOOK_URL": "https://hooks.example.com/s3cret",
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """As a driver with secrets sends its settings."""
    plain = {
        "MODEL_NAME": "some/model",
        "OPENAI_MODEL": "m",
        "OPENAI_EXTRA_BODY": '{"user": "search"}',
        "BUDGET_USD_PER_DAY": "1.5",
        "TABLE": "articles",
        "COMMIT_SECONDS": "0.5",
    }
    for name, value in {**{f"EMBEDDING_{name}": value for name, value in plain.items()}, **SECRETS}.items():
        monkeypatch.setenv(name, value)
    portable = PortableSettings.of(get_settings())
    for name in plain:
        monkeypatch.delenv(f"EMBEDDING_{name}")
    return pickle.dumps(portable)


def test_no_secret_is_sent(sent: bytes):
    assert b"s3cret" not in sent
    assert "s3cret" not in repr(pickle.loads(sent))


def test_what_is_sent_holds_over_what_a_node_sets(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "the/nodes")
    monkeypatch.setenv("EMBEDDING_WINDOW_SIZE", "77")
    monkeypatch.setenv("EMBEDDING_DOCUMENT_PROMPT", "of the node: ")
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_RUN", "3")
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://node:own@db/x")
    settings = pickle.loads(sent).restore()
    assert settings.embedding.model_name == "some/model"
    assert settings.embedding.commit_seconds == 0.5
    assert settings.embedding.window_size == 2048, "the run's, which is the default"
    assert settings.embedding.document_prompt is None
    assert settings.budget.usd_per_run is None
    assert "usd_per_run" not in settings.budget.model_fields_set
    assert settings.openai.extra_body == {"user": "search"}
    assert settings.openai.headers["x-key"].get_secret_value() == "s3cret"
    assert str(settings.budget.usd_per_day) == "1.5"
    assert settings.source.relation == "articles"
    assert settings.database.url is not None
    assert settings.database.url.get_secret_value() == "postgresql://node:own@db/x"
    assert "batch_size" not in settings.embedding.model_fields_set


def test_what_a_node_lacks_is_named(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    for name in ("EMBEDDING_OPENAI_API_KEY", "EMBEDDING_DATABASE_URL"):
        monkeypatch.delenv(name)
    with pytest.raises(
        ConfigurationError, match="lacks EMBEDDING_DATABASE_URL and EMBEDDING_OPENAI_API_KEY"
    ) as refused:
        pickle.loads(sent).restore()
    assert "ray start" in str(refused.value)


def test_a_folder_is_the_nodes_own_where_it_says_so(sent: bytes, monkeypatch: pytest.MonkeyPatch):
    drivers = get_settings().data_dir
    monkeypatch.delenv("EMBEDDING_DATA_DIR")
    assert pickle.loads(sent).restore().data_dir == drivers
    monkeypatch.setenv("EMBEDDING_DATA_DIR", "/data/of/the/node")
    assert pickle.loads(sent).restore().data_dir == Path("/data/of/the/node")


def test_the_place_of_a_password_is_each_machines_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://me@db/x")
    monkeypatch.setenv("EMBEDDING_DATABASE_PASSWORD_FILE", "/run/secrets/driver")
    portable = PortableSettings.of(get_settings())
    monkeypatch.setenv("EMBEDDING_DATABASE_PASSWORD_FILE", "/run/secrets/node")
    assert portable.restore().database.password_file == Path("/run/secrets/node")
