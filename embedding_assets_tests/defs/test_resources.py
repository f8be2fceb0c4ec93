from decimal import Decimal

import pytest

from embedding_assets.config import get_settings
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres.spaces import serving_space
from embedding_assets.providers.space_selection import select_for_run


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "7")
    monkeypatch.setenv("EMBEDDING_DEVICE", "cpu")

    settings = EmbeddingProviderResource(model=ModelResource(device="auto")).apply(get_settings())

    assert (settings.embedding.batch_size, settings.embedding.device) == (7, "auto")


def provider(**fields):
    return EmbeddingProviderResource(model=ModelResource(), **fields)


def test_nothing_set_is_the_environment(monkeypatch):
    monkeypatch.setenv("EMBEDDING_OPENAI_MODEL", "text-embedding-3-large")
    monkeypatch.setenv("EMBEDDING_BUDGET_USD_PER_DAY", "2.5")

    assert provider().apply(get_settings()) == get_settings()
    assert provider().apply(get_settings()).embedding.model_fields_set == get_settings().embedding.model_fields_set


# Field, its value, variable and another value there, group and name in the settings, and what must be found.
FIELDS = [
    ("provider", "openai", "EMBEDDING_PROVIDER", "local", "embedding", "provider", "openai"),
    ("fallback", "local", "EMBEDDING_FALLBACK", "openai", "embedding", "fallback", "local"),
    ("new_space", True, "EMBEDDING_NEW_SPACE", "false", "embedding", "new_space", True),
    ("openai_model", "text-embedding-3-large", "EMBEDDING_OPENAI_MODEL", "x", "openai", "model",
     "text-embedding-3-large"),
    ("openai_dimensions", 256, "EMBEDDING_OPENAI_DIMENSIONS", "512", "openai", "dimensions", 256),
    ("openai_base_url", "http://127.0.0.1:9/v1", "OPENAI_BASE_URL", "http://127.0.0.1:8/v1", "openai", "base_url",
     "http://127.0.0.1:9/v1"),
    ("requests_per_minute", 60, "EMBEDDING_OPENAI_REQUESTS_PER_MINUTE", "70", "openai", "requests_per_minute", 60),
    ("tokens_per_minute", 6000, "EMBEDDING_OPENAI_TOKENS_PER_MINUTE", "70", "openai", "tokens_per_minute", 6000),
    ("usd_per_run", 0.1, "EMBEDDING_BUDGET_USD_PER_RUN", "7", "budget", "usd_per_run", Decimal("0.1")),
    ("usd_per_day", 1, "EMBEDDING_BUDGET_USD_PER_DAY", "7", "budget", "usd_per_day", Decimal(1)),
    ("usd_per_month", 10.5, "EMBEDDING_BUDGET_USD_PER_MONTH", "7", "budget", "usd_per_month", Decimal("10.5")),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "variable", "other", "group", "name", "expected"), FIELDS)
def test_each_field_wins_over_its_variable(field, value, variable, other, group, name, expected, monkeypatch):
    monkeypatch.setenv(variable, other)

    settings = provider(**{field: value}).apply(get_settings())

    assert getattr(getattr(settings, group), name) == expected
    assert name in getattr(settings, group).model_fields_set
    assert getattr(get_settings(), group) != getattr(settings, group)


def test_every_field_is_described_and_tried():
    fields = EmbeddingProviderResource.model_fields
    assert {field for field, *_ in FIELDS} == set(fields) - {"model"}
    for field, _, variable, *_ in FIELDS:
        assert variable.replace("OPENAI_BASE", "EMBEDDING_OPENAI_BASE") in fields[field].description


def test_the_key_comes_from_the_environment_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")

    settings = provider(openai_model="text-embedding-3-large", usd_per_day=1).apply(get_settings())

    assert settings.openai.api_key.get_secret_value() == "secret-key"
    assert not any("key" in field for field in EmbeddingProviderResource.model_fields)


@pytest.mark.parametrize(
    ("resource", "variable", "field"),
    [
        (ModelResource(batch_size=0), "EMBEDDING_BATCH_SIZE", "batch_size"),
        (ModelResource(device="abacus"), "EMBEDDING_DEVICE", "device"),
        (provider(provider="oracle"), "EMBEDDING_PROVIDER", "provider"),
        (provider(fallback="oracle"), "EMBEDDING_FALLBACK", "fallback"),
        (provider(openai_base_url="api.example.com"), "EMBEDDING_OPENAI_BASE_URL", "openai_base_url"),
        (provider(openai_model="text-embedding-ada-002"), "EMBEDDING_OPENAI_DIMENSIONS is 768", "openai_model"),
        (provider(tokens_per_minute=0), "EMBEDDING_OPENAI_TOKENS_PER_MINUTE", "tokens_per_minute"),
        (provider(usd_per_run=-1), "EMBEDDING_BUDGET_USD_PER_RUN", "usd_per_run"),
    ],
)
def test_a_wrong_value_is_named(resource, variable, field):
    with pytest.raises(ConfigurationError) as caught:
        resource.apply(get_settings())

    assert variable in str(caught.value)
    assert f"in the configuration of {type(resource).__name__}, which sets {field}" in str(caught.value)


def test_the_url_of_the_resource_wins(settings, database, monkeypatch):
    url = settings.database.url.get_secret_value()
    monkeypatch.setenv("EMBEDDING_DATABASE_URL", "postgresql://127.0.0.1:1/d")
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0")

    with PostgresResource(url=url).open() as opened:
        assert opened.address == database.address
    with pytest.raises(DatabaseUnavailableError), PostgresResource().open():
        pass


def test_the_password_of_the_resource_stays_out_of_its_errors(monkeypatch):
    monkeypatch.setenv("EMBEDDING_DATABASE_RETRY_SECONDS", "0")

    resource = PostgresResource(url="postgresql://u:hunter2@127.0.0.1:1/d")

    with pytest.raises(DatabaseUnavailableError) as caught, resource.open():
        pass
    assert "hunter2" not in str(caught.value)


def test_a_provider_for_the_table_and_its_model_is_loaded_once_and_freed(settings, database):
    model = ModelResource()
    resource = EmbeddingProviderResource(model=model)
    wanted = resource.apply(settings)
    column = select_for_run(wanted, database).column
    assert serving_space(database) == column

    first, second = (select_for_run(wanted, database).open_provider() for _ in range(2))
    first.load()
    second.load()
    assert first._loaded is second._loaded

    model.release()
    third = select_for_run(wanted, database).open_provider()
    third.load()
    assert third._loaded is not first._loaded
