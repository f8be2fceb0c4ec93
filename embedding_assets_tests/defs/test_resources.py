import pytest

from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError
from embedding_assets.postgres.spaces import serving_space


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("EMBEDDING_BATCH_SIZE", "7")
    monkeypatch.setenv("EMBEDDING_DEVICE", "cpu")

    settings = EmbeddingProviderResource(model=ModelResource(device="auto")).settings()

    assert (settings.embedding.batch_size, settings.embedding.device) == (7, "auto")


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (ModelResource(batch_size=0), "EMBEDDING_BATCH_SIZE"),
        (ModelResource(device="abacus"), "EMBEDDING_DEVICE"),
        (EmbeddingProviderResource(model=ModelResource(), provider="oracle"), "EMBEDDING_PROVIDER"),
    ],
)
def test_a_wrong_value_is_named(resource, message):
    with pytest.raises(ConfigurationError, match=message):
        resource.settings()


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
    record = resource.open_space(database)
    assert serving_space(database) == record

    first, second = resource.provider_for(record), resource.provider_for(record)
    first.load()
    second.load()
    assert first._loaded is second._loaded

    model.release()
    third = resource.provider_for(record)
    third.load()
    assert third._loaded is not first._loaded
