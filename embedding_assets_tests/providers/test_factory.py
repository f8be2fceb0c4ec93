"""From settings and a table to the provider: what the table is embedded with decides."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_assets.config import Settings, get_settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.demo_model import REVISION as DEMO_REVISION
from embedding_assets.errors import ConfigurationError, ModelUnavailableError, SpaceMismatchError
from embedding_assets.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets.providers.factory import configured_model, create_provider, follow_space, open_space, provider_for
from embedding_assets.search import search
from embedding_assets_tests.fakes import insert_chunks
from embedding_assets_tests.tiny_model import DIMENSIONS, POSITIONS

Configure = Callable[..., Settings]


@pytest.fixture
def configure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Settings with this test's database and exactly these variables."""

    def configure(**variables: object) -> Settings:
        for name in ("MODEL_NAME", "MODEL_REVISION", "DIMENSIONS", "MAX_SEQ_LENGTH", "NEW_SPACE"):
            monkeypatch.delenv(f"EMBEDDING_{name}", raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(f"EMBEDDING_{name}", str(value))
        return get_settings()

    return configure


def test_the_first_space_is_the_configured_one(configure: Configure, database: Database):
    record = open_space(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database)
    assert (record.space.model, record.space.revision) == (DEMO_MODEL, DEMO_REVISION)
    assert (record.space.max_tokens, record.column, record.serving) == (128, "embedding", True)


def test_a_table_keeps_its_model_when_none_is_set(configure: Configure, database: Database):
    record = open_space(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database)
    unset = configure()
    assert open_space(unset, database) == record
    assert provider_for(unset, record).space == record.space
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
    record = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    if variables.get("MODEL_NAME") == "tiny":
        variables = {**variables, "MODEL_NAME": tiny}
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_space(configure(**variables), database)
    assert "EMBEDDING_NEW_SPACE" in str(caught.value) or not isinstance(caught.value, SpaceMismatchError)
    assert provider_for(configure(**variables), record).space == record.space


def test_a_new_space_on_request(configure: Configure, database: Database, tiny: Path):
    first = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    second = open_space(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, NEW_SPACE="true"), database)
    assert first.serving
    assert not second.serving
    assert second.column == f"embedding_{second.space.slug}"
    assert second.space.max_tokens == POSITIONS


FOLDER_NEEDED = "the table was embedded with model tiny from a folder; set EMBEDDING_MODEL_NAME to that folder"


def test_a_table_embedded_by_a_folder_needs_that_folder(
    configure: Configure, database: Database, tiny: Path, prompted: Path, tmp_path: Path
):
    of_folder = configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS)
    insert_chunks(database, ["alpha", "beta", "gamma"])
    assert EmbeddingGenerator(of_folder, database=database).generate_embeddings_batch().embedded == 3
    record = open_space(of_folder, database)
    assert provider_for(of_folder, record).space == record.space
    assert search("alpha", settings=of_folder, database=database, k=1)[0].text == "alpha"

    unset = configure()
    for needs_the_model in (
        lambda: open_space(unset, database),
        lambda: configured_model(unset, database),
        lambda: provider_for(unset, record),
        lambda: search("alpha", settings=unset, database=database),
        lambda: provider_for(configure(MODEL_NAME="someone/else"), record),
    ):
        with pytest.raises(ConfigurationError) as caught:
            needs_the_model()
        assert str(caught.value) == FOLDER_NEEDED

    other = configure(MODEL_NAME=prompted, DIMENSIONS=DIMENSIONS)
    with pytest.raises(ConfigurationError, match="differing: model, revision, normalized, prompt"):
        provider_for(other, record)
    with pytest.raises(SpaceMismatchError, match="EMBEDDING_NEW_SPACE=true"):
        open_space(other, database)


def test_the_same_model_in_another_revision_is_another_space(configure: Configure, database: Database):
    record = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    other = replace(record, space=replace(record.space, revision="later"))
    with pytest.raises(ConfigurationError, match=r"needs model demo/.* at later, .*differing: revision"):
        provider_for(configure(), other)


def test_settings_that_name_a_model_are_not_changed(configure: Configure, database: Database):
    record = open_space(configure(MODEL_NAME=DEMO_MODEL), database)
    named = configure(MODEL_NAME="someone/else")
    assert follow_space(named, record) is named
    assert follow_space(named, None) is named
    revised = configure(MODEL_REVISION="abc")
    assert follow_space(revised, record) is revised


def test_a_model_that_cannot_be_had_is_found_out_before_any_work(configure: Configure, database: Database):
    insert_chunks(database, ["alpha"])
    with pytest.raises(ModelUnavailableError, match="all-mpnet-base-v2 is neither cached nor could it be fetched"):
        EmbeddingGenerator(configure(), database=database).generate_embeddings_batch()
    with pytest.raises(ModelUnavailableError, match="hf download"):
        create_provider(configure())
