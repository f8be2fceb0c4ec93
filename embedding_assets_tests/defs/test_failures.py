import pytest
from dagster import Failure

from embedding_assets.defs.failures import as_failure, explained, variables_set_by
from embedding_assets.defs.resources import EmbeddingProviderResource, ModelResource, PostgresResource
from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError, ProviderUnavailableError
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.materializing import materialize


def values(failure):
    return {name: entry.value for name, entry in failure.metadata.items()}


def test_an_error_of_ours_is_a_failure_with_its_sentence_first_and_the_remedy_beside_it():
    with pytest.raises(Failure) as caught, explained():
        raise ConfigurationError("the table is locked; end that transaction")
    assert caught.value.description == "the table is locked; end that transaction"
    assert values(caught.value)["what_to_do"] == "end that transaction"
    assert values(caught.value)["error"] == "ConfigurationError"
    assert "goes on from the table" in values(caught.value)["afterwards"]
    assert isinstance(caught.value.__cause__, ConfigurationError)


def test_one_without_a_remedy_says_that_a_run_goes_on():
    failure = as_failure(ProviderUnavailableError("it is down"), {})
    assert "goes on from the table" in values(failure)["what_to_do"]
    assert "afterwards" not in values(failure)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (DatabaseUnavailableError("away"), True),
        (ProviderUnavailableError("down"), True),
        (ConfigurationError("x"), False),
    ],
)
def test_what_passes_may_be_retried(error, again):
    assert as_failure(error, {}).allow_retries is again


def test_what_is_not_ours_stays_as_it_is():
    with pytest.raises(ZeroDivisionError), explained():
        _ = 1 / 0


def test_no_password_is_in_it():
    failure = as_failure(ConfigurationError("postgresql://u:hunter2@host/db does not answer; check it"), {})
    assert "hunter2" not in f"{failure.description} {values(failure)}"


def test_a_variable_that_something_else_sets_is_named_with_it():
    error = ConfigurationError("no model; set EMBEDDING_MODEL_NAME to a folder")
    failure = as_failure(error, {"EMBEDDING_MODEL_NAME": "`model_name` of embedding_model", "EMBEDDING_TABLE": "x"})
    assert failure.description.endswith("(here set by `model_name` of embedding_model)")
    assert values(failure)["set_here"] == "EMBEDDING_MODEL_NAME by `model_name` of embedding_model"


def test_the_variables_that_a_resource_sets():
    model = ModelResource(model_name="some")
    assert variables_set_by(model, "m") == {"EMBEDDING_MODEL_NAME": "`model_name` of m"}
    assert variables_set_by(PostgresResource(url="x"), "d") == {"EMBEDDING_DATABASE_URL": "`url` of d"}
    provider = EmbeddingProviderResource(model=model, usd_per_day=1.0)
    assert variables_set_by(provider, "p") == {"EMBEDDING_BUDGET_USD_PER_DAY": "`usd_per_day` of p"}
    assert variables_set_by(object(), "p") == {}


def test_a_failed_step_shows_the_sentence_first(database, instance, monkeypatch):
    insert_chunks(database, ["one"])
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "/nowhere/model")
    result = materialize(instance, raise_on_error=False)
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    [failed] = [data for data in failures if data.user_failure_data]
    assert "/nowhere/model" in failed.user_failure_data.description
    assert "EMBEDDING_MODEL_NAME" in failed.user_failure_data.description
    assert "goes on from the table" in failed.user_failure_data.metadata["what_to_do"].value
    assert failed.error.cause.cls_name == failed.user_failure_data.metadata["error"].value, "for alerts"
