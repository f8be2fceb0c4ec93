"""From settings and a table to the provider: what the table is embedded with decides."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_assets.config import Settings, get_settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.demo_model import REVISION as DEMO_REVISION
from embedding_assets.errors import ConfigurationError, ModelUnavailableError, SpaceMismatchError
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces, serve_space
from embedding_assets.providers import selection
from embedding_assets.providers.openai.provider import openai_space
from embedding_assets.providers.selection import (
    configured_model,
    create_provider,
    fallback_settings,
    find_space,
    follow_spaces,
    open_space,
    provider_for,
    settings_for,
)
from embedding_assets.retrieval import search
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.fakes import insert_chunks
from embedding_assets_tests.support.tiny_model import DIMENSIONS, POSITIONS

Configure = Callable[..., Settings]


@pytest.fixture
def configure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Settings with this test's database and exactly these variables."""

    def configure(**variables: object) -> Settings:
        for name in list(os.environ):
            if name.startswith("EMBEDDING_") and name not in ("EMBEDDING_DATABASE_URL", "EMBEDDING_DATA_DIR"):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(f"EMBEDDING_{name}", str(value))
        return get_settings()

    return configure


def test_the_first_space_is_the_configured_one(configure: Configure, database: Database):
    column = open_space(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database)
    assert (column.space.model, column.space.revision) == (DEMO_MODEL, DEMO_REVISION)
    assert (column.space.max_tokens, column.name, column.serving) == (128, "embedding", True)


def test_a_table_keeps_its_model_when_none_is_set(configure: Configure, database: Database):
    column = open_space(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database)
    unset = configure()
    assert open_space(unset, database) == column
    assert provider_for(unset, column, database).space == column.space
    followed, files = configured_model(unset, database)
    assert (followed.embedding.model_name, followed.embedding.max_seq_length) == (DEMO_MODEL, 128)
    assert files.name == DEMO_MODEL


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MAX_SEQ_LENGTH": 64}, r"max_tokens \(EMBEDDING_MAX_SEQ_LENGTH\) is 64, the table's is 256"),
        ({"DIMENSIONS": 384}, "EMBEDDING_DIMENSIONS is 384, but demo/.* makes vectors of 768"),
        ({"MODEL_NAME": "tiny", "DIMENSIONS": DIMENSIONS}, r"model \(EMBEDDING_MODEL_NAME\) is 'tiny', the table's is"),
    ],
)
def test_other_settings_than_the_tables_are_refused(
    variables: dict[str, object], message: str, configure: Configure, database: Database, tiny: Path
):
    column = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    if variables.get("MODEL_NAME") == "tiny":
        variables = {**variables, "MODEL_NAME": tiny}
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_space(configure(**variables), database)
    assert "EMBEDDING_NEW_SPACE" in str(caught.value) or not isinstance(caught.value, SpaceMismatchError)
    assert provider_for(configure(**variables), column, database).space == column.space


def test_a_new_space_on_request(configure: Configure, database: Database, tiny: Path):
    first = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    second = open_space(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, NEW_SPACE="true"), database)
    assert first.serving
    assert not second.serving
    assert second.name == f"embedding_{second.space.slug}"
    assert second.space.max_tokens == POSITIONS


FOLDER_NEEDED = "the table was embedded with model tiny from a folder; set EMBEDDING_MODEL_NAME to that folder"


def test_a_table_embedded_by_a_folder_needs_that_folder(
    configure: Configure, database: Database, tiny: Path, prompted: Path, tmp_path: Path
):
    of_folder = configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS)
    insert_chunks(database, ["alpha", "beta", "gamma"])
    assert EmbeddingGenerator(of_folder, database=database).generate_embeddings_batch().embedded == 3
    column = open_space(of_folder, database)
    assert provider_for(of_folder, column, database).space == column.space
    assert search("alpha", settings=of_folder, database=database, k=1)[0].text == "alpha"

    unset = configure()
    for needs_the_model in (
        lambda: open_space(unset, database),
        lambda: configured_model(unset, database),
        lambda: provider_for(unset, column, database),
        lambda: search("alpha", settings=unset, database=database),
        lambda: provider_for(configure(MODEL_NAME="someone/else"), column, database),
    ):
        with pytest.raises(ConfigurationError) as caught:
            needs_the_model()
        assert str(caught.value) == FOLDER_NEEDED

    other = configure(MODEL_NAME=prompted, DIMENSIONS=DIMENSIONS)
    with pytest.raises(ConfigurationError, match="differing: model, revision, normalized, prompt"):
        provider_for(other, column, database)
    with pytest.raises(SpaceMismatchError, match="EMBEDDING_NEW_SPACE=true"):
        open_space(other, database)


def test_the_same_model_in_another_revision_is_another_space(configure: Configure, database: Database):
    column = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    other = replace(column, space=replace(column.space, revision="later"))
    with pytest.raises(ConfigurationError, match=r"needs model demo/.* at later, .*differing: revision"):
        provider_for(configure(), other, database)


def test_settings_that_name_a_model_keep_it(configure: Configure, database: Database):
    column = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    for named in (configure(MODEL_NAME="someone/else"), configure(MODEL_REVISION="abc")):
        assert follow_spaces(named, [column]).embedding.model_name == named.embedding.model_name
        assert follow_spaces(named, [column]).embedding.model_revision == named.embedding.model_revision
        assert follow_spaces(named, []) is named


def test_a_model_that_cannot_be_had_is_found_out_before_any_work(configure: Configure, database: Database):
    insert_chunks(database, ["alpha"])
    with pytest.raises(ModelUnavailableError, match="all-mpnet-base-v2 is neither cached nor could it be fetched"):
        EmbeddingGenerator(configure(), database=database).generate_embeddings_batch()
    with pytest.raises(ModelUnavailableError, match="hf download"):
        create_provider(configure())


# Another provider than the table's.


@pytest.fixture
def local(configure: Configure, database: Database) -> SpaceColumn:
    """The table's first space, the demo model's."""
    return open_space(configure(MODEL_NAME=DEMO_MODEL), database)


def test_another_provider_named_on_purpose_opens_a_space_of_its_own(
    configure: Configure, database: Database, local: SpaceColumn
):
    by_api = configure(PROVIDER="openai")
    assert find_space(by_api, database) is None
    column = open_space(by_api, database)
    assert column.space == openai_space(by_api.openai)
    assert (column.name, column.index, column.serving) == (
        f"embedding_{column.space.slug}",
        f"idx_knowledge_embedding_{column.space.slug}",
        False,
    )
    # Back and forth.
    assert open_space(configure(PROVIDER="local"), database) == local
    assert open_space(configure(), database) == local, "unset: whoever made the vectors that serve searches"
    assert open_space(by_api, database) == find_space(by_api, database) == column
    assert list_spaces(database) == [local, column]

    served = serve_space(database, column, force=True)
    not_serving = replace(local, serving=False)
    assert open_space(configure(), database) == find_space(configure(), database) == served
    assert open_space(configure(PROVIDER="local"), database) == not_serving
    assert find_space(configure(PROVIDER="local"), database) == not_serving
    serve_space(database, local)
    assert open_space(configure(), database) == local


def test_the_first_space_may_be_an_api_s(configure: Configure, database: Database):
    column = open_space(configure(PROVIDER="openai", OPENAI_MODEL="text-embedding-3-large"), database)
    assert (column.name, column.serving) == ("embedding", True)
    unset = configure()
    assert find_space(unset, database) == open_space(unset, database) == column, "provider and model follow the table"
    assert open_space(configure(PROVIDER="openai"), database) == column
    demo = open_space(configure(PROVIDER="local", MODEL_NAME=DEMO_MODEL), database)
    assert (demo.space.model, demo.serving) == (DEMO_MODEL, False)
    assert open_space(configure(PROVIDER="local"), database) == demo


@pytest.mark.parametrize(
    ("variables", "setting"),
    [
        ({"OPENAI_MODEL": "text-embedding-3-large"}, "EMBEDDING_OPENAI_MODEL"),
        ({"OPENAI_DIMENSIONS": 512}, "EMBEDDING_OPENAI_DIMENSIONS"),
        ({"OPENAI_MAX_INPUT_TOKENS": 4096}, "EMBEDDING_OPENAI_MAX_INPUT_TOKENS"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, "EMBEDDING_OPENAI_BASE_URL"),
    ],
)
def test_another_model_of_the_same_provider_needs_permission(
    variables: dict[str, object], setting: str, configure: Configure, database: Database, local: SpaceColumn
):
    column = open_space(configure(PROVIDER="openai"), database)
    insert_chunks(database, ["text"])
    database.run(lambda c: c.execute(f"UPDATE knowledge_base SET {column.name} = array_fill(1, ARRAY[768])::vector"))
    settings = configure(PROVIDER="openai", **variables)
    with pytest.raises(SpaceMismatchError) as caught:
        open_space(settings, database)
    assert f"({setting}) is " in str(caught.value)
    assert f"embedded in space {column.space.name}," in str(caught.value), "compared with the space of the provider"
    assert find_space(settings, database) is None

    allowed = configure(PROVIDER="openai", NEW_SPACE="true", **variables)
    further = open_space(allowed, database)
    assert find_space(allowed, database) == further
    assert further.space != column.space
    assert open_space(configure(PROVIDER="openai"), database) == column, "the oldest of the provider"
    assert open_space(settings, database) == further, "known by now"


def test_an_unset_model_follows_the_server_that_is_named(configure: Configure, database: Database):
    open_space(configure(PROVIDER="openai"), database)
    there = {"PROVIDER": "openai", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    column = open_space(configure(**there, OPENAI_MODEL="nomic", NEW_SPACE="true"), database)
    assert open_space(configure(**there), database) == column


def test_settings_for_a_space_lead_to_it(configure: Configure, database: Database, local: SpaceColumn):
    column = open_space(configure(PROVIDER="openai", OPENAI_MODEL="text-embedding-3-large"), database)
    for settings in (configure(), configure(PROVIDER="openai", OPENAI_MODEL="x", OPENAI_DIMENSIONS=9)):
        assert openai_space(settings_for(settings, column).openai) == column.space
        assert settings_for(settings, column).embedding.provider == "openai"
        assert find_space(settings_for(settings, local), database) == local


def test_a_space_on_another_server_is_not_taken_for_its_namesake(configure: Configure, database: Database):
    column = open_space(configure(PROVIDER="openai", OPENAI_API_KEY="k"), database)
    elsewhere = configure(OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_API_KEY="k")
    assert provider_for(configure(OPENAI_API_KEY="k"), column, database).space == column.space
    with pytest.raises(ConfigurationError, match=r"differing: revision.*set EMBEDDING_OPENAI_BASE_URL to that server"):
        provider_for(elsewhere, column, database)


def test_an_api_needs_a_database_and_a_local_model_none(configure: Configure):
    assert create_provider(configure(MODEL_NAME=DEMO_MODEL)).space.model == DEMO_MODEL
    with pytest.raises(ConfigurationError, match="only where a database"):
        create_provider(configure(PROVIDER="openai", OPENAI_API_KEY="k"))


def test_the_fallback_has_a_space_of_its_own(configure: Configure, database: Database):
    settings = configure(PROVIDER="openai", FALLBACK="local", MODEL_NAME=DEMO_MODEL)
    primary = open_space(settings, database)
    fallback = fallback_settings(settings)
    assert fallback is not None
    assert (fallback.embedding.provider, fallback.embedding.fallback) == ("local", None)
    assert find_space(fallback, database) is None
    column = open_space(fallback, database)
    assert (column.space.model, column.serving) == (DEMO_MODEL, False)
    assert find_space(fallback, database) == column
    assert open_space(settings, database) == primary
    assert fallback_settings(configure()) is None


def test_the_fallback_follows_the_space_that_the_table_has_of_it(
    configure: Configure, database: Database, local: SpaceColumn
):
    settings = configure(PROVIDER="openai", FALLBACK="local")
    open_space(settings, database)
    fallback = fallback_settings(settings)
    assert fallback is not None
    assert open_space(fallback, database) == local


@pytest.mark.parametrize(
    ("provider", "named", "model"),
    [("local", "MODEL_NAME", DEMO_MODEL), ("openai", "OPENAI_MODEL", "text-embedding-3-small")],
)
def test_vectors_of_an_adopted_table_are_claimed_by_naming_their_model(
    provider: str, named: str, model: str, configure: Configure, database: Database
):
    insert_chunks(database, ["text"])
    database.run(
        lambda c: c.execute("UPDATE knowledge_base SET embedding = array_prepend(1, array_fill(0, ARRAY[767]))::vector")
    )
    # The name of a local model claims nothing for an API.
    with pytest.raises(ConfigurationError, match=r"holds vectors, but not by which model.*EMBEDDING_OPENAI_MODEL"):
        open_space(configure(PROVIDER="openai", MODEL_NAME=DEMO_MODEL), database)
    column = open_space(configure(PROVIDER=provider, **{named: model}), database)
    assert (column.name, column.space.model) == ("embedding", model)
    assert open_space(configure(), database) == column


# Finding a space without its model's files.


def test_a_space_is_found_without_a_look_at_the_model(
    configure: Configure, database: Database, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    column = open_space(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, MAX_SEQ_LENGTH=32), database)
    full = open_space(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, NEW_SPACE="true"), database)
    monkeypatch.setattr(selection, "locate_model", lambda *_, **__: pytest.fail("looked at the model"))
    assert find_space(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, MAX_SEQ_LENGTH=32), database) == column
    assert find_space(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, MAX_SEQ_LENGTH=POSITIONS), database) == full
    for other in (
        {"MODEL_NAME": tiny},
        {"MODEL_NAME": tiny, "DIMENSIONS": DIMENSIONS, "MAX_SEQ_LENGTH": 16},
        {"MODEL_NAME": "someone/tiny", "DIMENSIONS": DIMENSIONS},
    ):
        assert find_space(configure(**other), database) is None
    with pytest.raises(ConfigurationError) as caught:
        find_space(configure(), database)
    assert str(caught.value) == FOLDER_NEEDED


def test_which_of_several_spaces_is_told_by_the_model_s_files(configure: Configure, database: Database, tiny: Path):
    """All that is known without them is that the model reads no more than 384 tokens."""
    of_folder = {"MODEL_NAME": tiny, "DIMENSIONS": DIMENSIONS}
    short = open_space(configure(**of_folder, MAX_SEQ_LENGTH=32), database)
    assert find_space(configure(**of_folder), database) == short, "the only one it may be; open_space would refuse"
    assert find_space(configure(**of_folder, NEW_SPACE="true"), database) is None
    full = open_space(configure(**of_folder, NEW_SPACE="true"), database)
    assert find_space(configure(**of_folder), database) == full


def test_a_named_revision_is_told_apart(configure: Configure, database: Database, local: SpaceColumn):
    hub = [replace(local, space=replace(local.space, model="someone/model", revision=c * 40)) for c in "ab"]
    named = configure(MODEL_NAME="someone/model", MODEL_REVISION="b" * 40)
    assert [selection._may_be(named.embedding, column.space) for column in hub] == [False, True]
    branch = configure(MODEL_NAME="someone/model", MODEL_REVISION="main")
    assert [selection._may_be(branch.embedding, column.space) for column in hub] == [True, True]


def test_a_table_without_a_space(configure: Configure, database: Database):
    assert find_space(configure(), database) is None
    assert find_space(configure(PROVIDER="openai"), database) is None


# Whose tokenizer counts where an API embeds.


def test_documents_for_an_api_are_measured_by_the_table_s_local_model(
    configure: Configure, database: Database, local: SpaceColumn
):
    open_space(configure(PROVIDER="openai"), database)
    settings, files = configured_model(configure(PROVIDER="openai"), database)
    assert (files.name, settings.embedding.max_seq_length) == (DEMO_MODEL, local.space.max_tokens)


def test_documents_for_an_api_are_measured_by_the_demo_model_at_need(configure: Configure, database: Database):
    _, files = configured_model(configure(PROVIDER="openai"), database)
    assert files.name == DEMO_MODEL, "the default model is neither cached nor reachable"
    with pytest.raises(ModelUnavailableError, match="nobody/model"):
        configured_model(configure(PROVIDER="openai", MODEL_NAME="nobody/model"), database)


def test_where_there_is_not_even_the_demo_model_the_configured_one_is_named(
    configure: Configure, database: Database, monkeypatch: pytest.MonkeyPatch
):
    locate = selection.locate_model

    def without_demo(name: str, *arguments: object, **named: object) -> object:
        if name == DEMO_MODEL:
            raise ModelUnavailableError("the demo model is not installed")
        return locate(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(selection, "locate_model", without_demo)
    with pytest.raises(ModelUnavailableError, match="all-mpnet-base-v2 is neither cached"):
        configured_model(configure(PROVIDER="openai"), database)
