import pytest
from dagster import AssetKey, AssetMaterialization, Failure, asset, materialize

from embedding_assets.defs.run_scope import in_run
from embedding_assets.errors import ConfigurationError


def decorated(work):
    """An asset whose function is wrapped as all are."""

    @asset(name="thing")
    @in_run(lambda context: {"EMBEDDING_TABLE": context.asset_key.to_user_string()})
    def thing(context):
        yield from work(context)

    return thing


def test_what_came_before_a_failure_is_kept():
    def work(context):
        yield AssetMaterialization(context.asset_key, metadata={"part": 1})
        raise ConfigurationError("EMBEDDING_TABLE is wrong; set it")

    result = materialize([decorated(work)], raise_on_error=False)

    [event] = result.get_asset_materialization_events()
    assert event.asset_key == AssetKey("thing")
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data.description == "EMBEDDING_TABLE is wrong; set it (here set by thing)"


def test_an_unexpected_error_is_raised_as_it_is():
    def work(_):
        yield from ()
        raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        materialize([decorated(work)])


def test_a_function_that_returns_is_wrapped_too():
    @asset
    @in_run(lambda _: {})
    def other(context):
        """What it is."""
        raise ConfigurationError("a sentence")

    assert other.descriptions_by_key[AssetKey("other")] == "What it is."
    with pytest.raises(Failure, match="a sentence"):
        materialize([other])
