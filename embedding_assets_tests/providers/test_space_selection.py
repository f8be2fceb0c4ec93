"""From settings and a table to the provider: what the table is embedded with decides."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_assets.config import Settings
from embedding_assets.encoder.demo_model import NAME as DEMO_MODEL
from embedding_assets.encoder.demo_model import REVISION as DEMO_REVISION
from embedding_assets.errors import ConfigurationError, ModelUnavailableError, SpaceMismatchError
from embedding_assets.pipeline.generator import EmbeddingGenerator
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.spaces import list_spaces, serve_space
from embedding_assets.providers import space_selection
from embedding_assets.providers.openai.provider import openai_space
from embedding_assets.providers.space_selection import (
    create_provider,
    find_for_run,
    follow_table,
    select_for_run,
    select_for_search,
    select_space,
)
from embedding_assets.providers.splitting_model import model_for_splitting
from embedding_assets.retrieval import search
from embedding_assets.spaces import SpaceColumn
from embedding_assets_tests.support.encoding import local_provider
from embedding_assets_tests.support.fakes import FakeProvider, insert_chunks
from embedding_assets_tests.support.selecting import select_unasked
from embedding_assets_tests.support.spaces import fill
from embedding_assets_tests.support.tiny_model import DIMENSIONS, POSITIONS, save_tiny_model

Configure = Callable[..., Settings]


def test_the_first_space_is_the_configured_one(configure: Configure, database: Database):
    column = select_unasked(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database).column
    assert (column.space.model, column.space.revision) == (DEMO_MODEL, DEMO_REVISION)
    assert (column.space.max_tokens, column.name, column.serving) == (128, "embedding", True)


def test_a_table_keeps_its_model_when_none_is_set(configure: Configure, database: Database):
    column = select_unasked(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database).column
    unset = configure()
    assert select_unasked(unset, database).column == column
    assert select_space(unset, column, database).open_provider().space == column.space
    followed, files = model_for_splitting(unset, database)
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
    column = select_unasked(configure(MODEL_NAME=DEMO_MODEL), database).column
    if variables.get("MODEL_NAME") == "tiny":
        variables = {**variables, "MODEL_NAME": tiny}
    with pytest.raises(ConfigurationError, match=message) as caught:
        select_unasked(configure(**variables), database)
    assert "EMBEDDING_NEW_SPACE" in str(caught.value) or not isinstance(caught.value, SpaceMismatchError)
    assert select_space(configure(**variables), column, database).open_provider().space == column.space


def test_a_new_space_on_request(configure: Configure, database: Database, tiny: Path):
    first = select_unasked(configure(MODEL_NAME=DEMO_MODEL), database).column
    second = select_unasked(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, NEW_SPACE="true"), database).column
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
    column = select_unasked(of_folder, database).column
    assert select_space(of_folder, column, database).open_provider().space == column.space
    assert search("alpha", settings=of_folder, database=database, k=1)[0].text == "alpha"

    unset = configure()
    for needs_the_model in (
        lambda: select_unasked(unset, database).column,
        lambda: model_for_splitting(unset, database),
        lambda: select_space(unset, column, database).open_provider(),
        lambda: search("alpha", settings=unset, database=database),
        lambda: select_space(configure(MODEL_NAME="someone/else"), column, database).open_provider(),
    ):
        with pytest.raises(ConfigurationError) as caught:
            needs_the_model()
        assert str(caught.value) == FOLDER_NEEDED

    other = configure(MODEL_NAME=prompted, DIMENSIONS=DIMENSIONS)
    with pytest.raises(ConfigurationError, match="differing: model, revision, normalized"):
        select_space(other, column, database).open_provider()
    with pytest.raises(SpaceMismatchError, match="EMBEDDING_NEW_SPACE=true"):
        select_unasked(other, database)


def test_the_same_model_in_another_revision_is_another_space(configure: Configure, database: Database):
    column = select_unasked(configure(MODEL_NAME=DEMO_MODEL), database).column
    other = replace(column, space=replace(column.space, revision="later"))
    with pytest.raises(ConfigurationError, match=r"needs model demo/.* at later, .*differing: revision"):
        select_space(configure(), other, database).open_provider()


def test_settings_that_name_a_model_keep_it(configure: Configure, database: Database):
    column = select_unasked(configure(MODEL_NAME=DEMO_MODEL), database).column
    for named in (configure(MODEL_NAME="someone/else"), configure(MODEL_REVISION="abc")):
        assert follow_table(named, [column]).embedding.model_name == named.embedding.model_name
        assert follow_table(named, [column]).embedding.model_revision == named.embedding.model_revision
        assert follow_table(named, []) is named


def test_a_model_that_cannot_be_had_is_found_out_before_any_work(configure: Configure, database: Database):
    insert_chunks(database, ["alpha"])
    with pytest.raises(ModelUnavailableError, match="all-mpnet-base-v2 is neither cached nor could it be fetched"):
        EmbeddingGenerator(configure(), database=database).generate_embeddings_batch()
    with pytest.raises(ModelUnavailableError, match="embedding-assets fetch-model"):
        create_provider(configure())


# Another provider than the table's.


def test_another_provider_named_on_purpose_opens_a_space_of_its_own(
    configure: Configure, database: Database, local: SpaceColumn
):
    by_api = configure(PROVIDER="openai")
    assert find_for_run(by_api, database)[1] is None
    column = select_unasked(by_api, database).column
    assert column.space == openai_space(by_api.openai)
    assert (column.name, column.index, column.serving) == (
        f"embedding_{column.space.slug}",
        f"idx_knowledge_embedding_{column.space.slug}",
        False,
    )
    # Back and forth.
    assert select_unasked(configure(PROVIDER="local"), database).column == local
    assert select_unasked(configure(), database).column == local, (
        "unset: the provider of the vectors that serve searches"
    )
    assert select_unasked(by_api, database).column == find_for_run(by_api, database)[1] == column
    assert list_spaces(database) == [local, column]

    served = serve_space(database, column, force=True)
    not_serving = replace(local, serving=False)
    assert select_unasked(configure(), database).column == find_for_run(configure(), database)[1] == served
    assert select_unasked(configure(PROVIDER="local"), database).column == not_serving
    assert find_for_run(configure(PROVIDER="local"), database)[1] == not_serving
    serve_space(database, local)
    assert select_unasked(configure(), database).column == local


def test_the_first_space_may_be_an_api_s(configure: Configure, database: Database):
    column = select_unasked(configure(PROVIDER="openai", OPENAI_MODEL="text-embedding-3-large"), database).column
    assert (column.name, column.serving) == ("embedding", True)
    unset = configure()
    assert find_for_run(unset, database)[1] == select_unasked(unset, database).column == column, (
        "provider and model follow the table"
    )
    assert select_unasked(configure(PROVIDER="openai"), database).column == column
    demo = select_unasked(configure(PROVIDER="local", MODEL_NAME=DEMO_MODEL), database).column
    assert (demo.space.model, demo.serving) == (DEMO_MODEL, False)
    assert select_unasked(configure(PROVIDER="local"), database).column == demo


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
    column = select_unasked(configure(PROVIDER="openai"), database).column
    insert_chunks(database, ["text"])
    database.run(lambda c: c.execute(f"UPDATE knowledge_base SET {column.name} = array_fill(1, ARRAY[768])::vector"))
    settings = configure(PROVIDER="openai", **variables)
    with pytest.raises(SpaceMismatchError) as caught:
        select_unasked(settings, database)
    assert f"({setting}) is " in str(caught.value)
    assert f"embedded in space {column.space.name}," in str(caught.value), "compared with the space of the provider"
    assert find_for_run(settings, database)[1] is None

    allowed = configure(PROVIDER="openai", NEW_SPACE="true", **variables)
    further = select_unasked(allowed, database).column
    assert find_for_run(allowed, database)[1] == further
    assert further.space != column.space
    assert select_unasked(configure(PROVIDER="openai"), database).column == column, "the oldest of the provider"
    assert select_unasked(settings, database).column == further, "known by now"


def test_an_unset_model_follows_the_server_that_is_named(configure: Configure, database: Database):
    select_unasked(configure(PROVIDER="openai"), database)
    there = {"PROVIDER": "openai", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    column = select_unasked(configure(**there, OPENAI_MODEL="nomic", NEW_SPACE="true"), database).column
    assert select_unasked(configure(**there), database).column == column


def test_settings_for_a_space_lead_to_it(configure: Configure, database: Database, local: SpaceColumn):
    column = select_unasked(configure(PROVIDER="openai", OPENAI_MODEL="text-embedding-3-large"), database).column
    for settings in (configure(), configure(PROVIDER="openai", OPENAI_MODEL="x", OPENAI_DIMENSIONS=9)):
        assert openai_space(select_space(settings, column, database).settings.openai) == column.space
        assert select_space(settings, column, database).settings.embedding.provider == "openai"
        assert find_for_run(select_space(settings, local, database).settings, database)[1] == local


def test_a_limit_by_which_no_text_is_cut_is_no_part_of_the_space(configure: Configure, database: Database):
    by_api = {"PROVIDER": "openai", "OPENAI_API_KEY": "k", "OPENAI_MODEL": "nomic"}
    column = select_unasked(configure(**by_api), database).column
    fill_column(database, column)
    cutting = configure(**by_api, OPENAI_MAX_INPUT_TOKENS=8191)
    with pytest.raises(SpaceMismatchError, match="max_tokens"):
        select_unasked(cutting, database)
    refusing = configure(**by_api, OPENAI_MAX_INPUT_TOKENS=8191, OPENAI_TOO_LONG="quarantine")
    selection = select_unasked(refusing, database)
    assert selection.column == find_for_run(refusing, database)[1] == column
    assert selection.open_provider().space == column.space
    with pytest.raises(SpaceMismatchError, match="dimensions"):
        select_unasked(refusing.with_group("openai", dimensions=8), database)


def fill_column(database: Database, column: SpaceColumn) -> None:
    insert_chunks(database, ["something"])
    fill(database, column)


def test_a_space_on_another_server_is_not_taken_for_its_namesake(configure: Configure, database: Database):
    column = select_unasked(configure(PROVIDER="openai", OPENAI_API_KEY="k"), database).column
    elsewhere = configure(OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_API_KEY="k")
    assert select_space(configure(OPENAI_API_KEY="k"), column, database).open_provider().space == column.space
    with pytest.raises(ConfigurationError, match=r"differing: revision.*set EMBEDDING_OPENAI_BASE_URL to that server"):
        select_space(elsewhere, column, database).open_provider()


def test_an_api_needs_a_database_and_a_local_model_none(configure: Configure):
    assert create_provider(configure(MODEL_NAME=DEMO_MODEL)).space.model == DEMO_MODEL
    with pytest.raises(ConfigurationError, match="only where a database"):
        create_provider(configure(PROVIDER="openai", OPENAI_API_KEY="k"))


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
        select_unasked(configure(PROVIDER="openai", MODEL_NAME=DEMO_MODEL), database)
    column = select_unasked(configure(PROVIDER=provider, **{named: model}), database).column
    assert (column.name, column.space.model) == ("embedding", model)
    assert select_unasked(configure(), database).column == column


# Finding a space without its model's files.


def test_a_space_is_found_without_a_look_at_the_model(
    configure: Configure, database: Database, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    column = select_unasked(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, MAX_SEQ_LENGTH=32), database).column
    full = select_unasked(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, NEW_SPACE="true"), database).column
    monkeypatch.setattr(space_selection, "locate_model", lambda *_, **__: pytest.fail("looked at the model"))
    assert find_for_run(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, MAX_SEQ_LENGTH=32), database)[1] == column
    assert (
        find_for_run(configure(MODEL_NAME=tiny, DIMENSIONS=DIMENSIONS, MAX_SEQ_LENGTH=POSITIONS), database)[1] == full
    )
    for other in (
        {"MODEL_NAME": tiny},
        {"MODEL_NAME": tiny, "DIMENSIONS": DIMENSIONS, "MAX_SEQ_LENGTH": 16},
        {"MODEL_NAME": "someone/tiny", "DIMENSIONS": DIMENSIONS},
    ):
        assert find_for_run(configure(**other), database)[1] is None
    with pytest.raises(ConfigurationError) as caught:
        find_for_run(configure(), database)[1]
    assert str(caught.value) == FOLDER_NEEDED


def test_which_of_several_spaces_is_reported_by_the_model_s_files(configure: Configure, database: Database, tiny: Path):
    """All that is known without them is that the model reads no more than 384 tokens."""
    of_folder = {"MODEL_NAME": tiny, "DIMENSIONS": DIMENSIONS}
    short = select_unasked(configure(**of_folder, MAX_SEQ_LENGTH=32), database).column
    assert find_for_run(configure(**of_folder), database)[1] == short, "the only one it may be; a run would refuse"
    assert find_for_run(configure(**of_folder, NEW_SPACE="true"), database)[1] is None
    full = select_unasked(configure(**of_folder, NEW_SPACE="true"), database).column
    assert find_for_run(configure(**of_folder), database)[1] == full


def test_a_named_revision_is_kept_apart(configure: Configure, database: Database, local: SpaceColumn):
    hub = [replace(local, space=replace(local.space, model="someone/model", revision=c * 40)) for c in "ab"]
    named = configure(MODEL_NAME="someone/model", MODEL_REVISION="b" * 40)
    assert [space_selection._may_be(named.embedding, column.space) for column in hub] == [False, True]
    branch = configure(MODEL_NAME="someone/model", MODEL_REVISION="main")
    assert [space_selection._may_be(branch.embedding, column.space) for column in hub] == [True, True]


def test_a_table_without_a_space(configure: Configure, database: Database):
    assert find_for_run(configure(), database)[1] is None
    assert find_for_run(configure(PROVIDER="openai"), database)[1] is None


# A table that a provider of the caller's own embeds.


@pytest.fixture
def foreign(configure: Configure, database: Database) -> SpaceColumn:
    return select_unasked(configure(), database, FakeProvider()).column


def test_no_setting_is_taken_from_a_provider_of_the_callers_own(
    configure: Configure, database: Database, foreign: SpaceColumn
):
    settings = configure()
    followed = follow_table(settings, list_spaces(database))
    assert followed.embedding.provider == foreign.space.provider
    assert followed.with_embedding(provider="local").embedding == settings.with_embedding(provider="local").embedding
    # Documents are split by the model that is configured, or by the demo's where that cannot be had.
    assert model_for_splitting(settings, database)[1].name in (DEMO_MODEL, settings.embedding.model_name)


def test_its_space_is_found_but_needs_its_provider(configure: Configure, database: Database, foreign: SpaceColumn):
    selection = select_unasked(configure(), database)
    assert selection.column == foreign
    assert find_for_run(configure(), database)[1] == foreign
    with pytest.raises(ConfigurationError, match=f"^{foreign.space.provider} is no provider of this package; pass you"):
        selection.open_provider()


def test_a_provider_of_another_space_answers_no_search(configure: Configure, database: Database, local: SpaceColumn):
    with pytest.raises(ConfigurationError, match=f"answered from space {local.space.name}, but the provider passed"):
        select_for_search(configure(), database, FakeProvider())


def test_a_batch_size_holds_for_the_model_that_embeds(configure: Configure, database: Database):
    """Also where the model was opened before, to try it on a first text."""
    selection = select_unasked(configure(MODEL_NAME=DEMO_MODEL, MAX_SEQ_LENGTH=128), database)
    for provider in (None, selection.open_provider()):
        opened = replace(selection, provider=provider).with_batch_size(2).open_provider()
        assert [len(batch.indices) for batch in opened.embed(["one text"] * 5)] == [2, 2, 1]
    own = FakeProvider()
    assert replace(selection, provider=own).with_batch_size(2).open_provider() is own


def test_a_callers_model_stays_as_it_was_made_but_for_its_batch_size(
    configure: Configure, database: Database, tmp_path: Path
):
    """Also where the settings lead to another."""
    own = local_provider(save_tiny_model(tmp_path / "own"), max_seq_length=POSITIONS)
    selection = select_for_run(configure(NEW_SPACE="true"), database, own)
    opened = selection.with_batch_size(2).open_provider()
    assert opened.space == own.space
    assert [len(batch.indices) for batch in opened.embed(["one text"] * 5)] == [2, 2, 1]
