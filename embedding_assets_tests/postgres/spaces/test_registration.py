"""Each vector space has a column of its own, and nothing else gets in."""

import dataclasses
import threading
from functools import partial

import pytest

from embedding_assets.config import IndexConfig
from embedding_assets.errors import ConfigurationError, DatabaseError, SpaceMismatchError
from embedding_assets.postgres.catalog import describe_index, drop_index
from embedding_assets.postgres.index.build import build_vector_index
from embedding_assets.postgres.spaces import (
    list_spaces,
    match_space,
    pending_index_waits,
    register_space,
    serving_space,
)
from embedding_assets_tests.support.fakes import FAKE_SPACE, insert_chunks
from embedding_assets_tests.support.spaces import API, OTHER, column_type, fill
from embedding_assets_tests.support.tables import SMALL_SPACE, in_threads

LONG = dataclasses.replace(
    FAKE_SPACE, model="someone/An-Unreasonably.Long--Name_of_a_model-that-goes-on-and-on-and-on-" + "x" * 60
)


def test_the_first_space_owns_the_first_column_and_serves(database):
    assert serving_space(database) is None
    column = register_space(database, FAKE_SPACE)
    assert (column.name, column.index, column.serving) == ("embedding", "idx_knowledge_embedding", True)
    assert describe_index(database, column.pending_index).valid
    assert register_space(database, FAKE_SPACE) == column
    assert serving_space(database) == column
    assert list_spaces(database) == [column]


@pytest.mark.parametrize(
    ("attribute", "value", "setting"),
    [
        ("model", "fake/other", "EMBEDDING_MODEL_NAME"),
        ("revision", "2", "EMBEDDING_MODEL_REVISION"),
        ("dimensions", 12, "EMBEDDING_DIMENSIONS"),
        ("max_tokens", 128, "EMBEDDING_MAX_SEQ_LENGTH"),
        ("provider", "another", "EMBEDDING_PROVIDER"),
        ("prompt", "passage: ", "prompt (EMBEDDING_DOCUMENT_PROMPT) is 'passage: ', the table's is ''"),
        ("normalized", False, "normalized is False, the table's is True"),
    ],
)
def test_a_space_that_differs_in_anything_is_refused_with_the_way_out(database, attribute, value, setting):
    register_space(database, FAKE_SPACE)
    space = dataclasses.replace(FAKE_SPACE, **{attribute: value})
    with pytest.raises(SpaceMismatchError) as caught:
        register_space(database, space)
    message = str(caught.value)
    assert setting in message
    assert "EMBEDDING_NEW_SPACE=true" in message
    assert space.name in message
    assert FAKE_SPACE.name in message
    assert len(list_spaces(database)) == 1


@pytest.mark.parametrize(
    ("attribute", "value", "setting", "way"),
    [
        ("model", "text-embedding-3-large", "model (EMBEDDING_OPENAI_MODEL)", "unset these variables to go on"),
        ("dimensions", 512, "dimensions (EMBEDDING_OPENAI_DIMENSIONS)", "unset these variables to go on"),
        ("max_tokens", 512, "max_tokens (EMBEDDING_OPENAI_MAX_INPUT_TOKENS)", "unset these variables to go on"),
        (
            "revision",
            "localhost:8080",
            "revision (EMBEDDING_OPENAI_BASE_URL) is 'localhost:8080', the table's is 'api.openai.com'",
            "set EMBEDDING_OPENAI_BASE_URL to the API at api.openai.com to go on",
        ),
    ],
)
def test_the_settings_of_an_api_are_called_by_their_own_names(database, attribute, value, setting, way):
    register_space(database, FAKE_SPACE)
    use(database, register_space(database, API, new_provider=True))
    space = dataclasses.replace(API, **{attribute: value})
    with pytest.raises(SpaceMismatchError) as caught:
        register_space(database, space, new_provider=True)
    first, *middle, last = [line for line in str(caught.value).splitlines() if "rename" not in line]
    hint = f"spaces rename {API.name}`, or set EMBEDDING_OPENAI_SERVER=api.openai.com"
    assert (hint in str(caught.value)) == (attribute == "revision")
    assert first == f"the table is embedded in space {API.name}, but the settings describe {space.name}:"
    assert [line.strip().startswith(setting) for line in middle] == [True]
    assert last.startswith(way)
    assert last.endswith("or set EMBEDDING_NEW_SPACE=true to give the new one a column and an index of its own")


def use(database, column):
    """Write something into a space."""
    insert_chunks(database, ["something"])
    fill(database, column)


def test_another_server_and_another_model_are_reported_together(database):
    use(database, register_space(database, API))
    with pytest.raises(SpaceMismatchError, match=r"to the API at api\.openai\.com and unset the others to go on"):
        register_space(database, dataclasses.replace(API, revision="localhost", model="other"))


def test_a_further_provider_may_be_allowed_alone(database):
    first = register_space(database, FAKE_SPACE, new_provider=True)
    with pytest.raises(SpaceMismatchError):
        register_space(database, OTHER, new_provider=True)
    with pytest.raises(SpaceMismatchError, match="EMBEDDING_PROVIDER"):
        register_space(database, API)
    second = register_space(database, API, new_provider=True)
    assert (second.name, second.serving) == (f"embedding_{API.slug}", False)
    assert register_space(database, API) == second
    assert list_spaces(database) == [first, second]


def test_further_spaces_have_columns_and_indexes_of_their_own(database, execute):
    first = register_space(database, FAKE_SPACE)
    columns = [register_space(database, space, new_space=True) for space in (OTHER, LONG)]
    assert [(r.serving, column_type(execute, r.name)) for r in columns] == [
        (False, "vector(12)"),
        (False, "vector(768)"),
    ]
    assert serving_space(database) == first
    assert list_spaces(database) == [first, *columns]
    names = [name for r in [first, *columns] for name in (r.name, r.index, r.pending_index)]
    assert len({name[:63] for name in names}) == len(names)
    for column in [first, *columns]:
        assert all(len(name) <= 63 for name in (column.name, column.index, column.pending_index, f"{column.index}_new"))
        build_vector_index(database, column, IndexConfig())
        for name in (column.index, column.pending_index):
            found = execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid = %s::regclass", name)
            assert found == [(name,)]
    # Known by now, so they need no permission any more.
    assert register_space(database, OTHER) == columns[0]


def test_a_further_space_s_partial_index_comes_with_its_vector_index(database):
    register_space(database, FAKE_SPACE)
    column = register_space(database, OTHER, new_space=True)
    assert pending_index_waits(database, column)
    assert not describe_index(database, column.pending_index).exists
    build_vector_index(database, column, IndexConfig())
    assert describe_index(database, column.pending_index).valid
    with database.session() as connection:
        drop_index(connection, database.table, column.pending_index)
    register_space(database, OTHER)
    assert describe_index(database, column.pending_index).valid


def test_where_hashes_are_not_in_byte_order_every_space_has_its_partial_index_at_once(database, execute):
    execute('ALTER TABLE knowledge_base ALTER COLUMN chunk_hash TYPE text COLLATE "ucs_basic"')
    register_space(database, FAKE_SPACE)
    column = register_space(database, OTHER, new_space=True)
    assert not pending_index_waits(database, column)
    assert describe_index(database, column.pending_index).valid


def test_an_empty_column_takes_the_space_s_dimensions(database, execute):
    insert_chunks(database, ["text"])
    register_space(database, OTHER)
    assert column_type(execute, "embedding") == "vector(12)"


@pytest.mark.parametrize("declared", ["vector", "vector(8)"])
def test_a_filled_column_is_taken_only_when_claimed_and_of_the_right_length(database, execute, declared):
    [chunk_hash] = insert_chunks(database, ["text"])
    execute(f"ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE {declared}")
    vector = "[1,0,0,0,0,0,0,0]"
    execute("UPDATE knowledge_base SET embedding = %s::vector", vector)
    with pytest.raises(ConfigurationError, match="EMBEDDING_MODEL_NAME"):
        register_space(database, SMALL_SPACE)
    with pytest.raises(ConfigurationError, match=r"EMBEDDING_DIMENSIONS.* of 8 dimensions"):
        register_space(database, OTHER, claim_vectors=True)
    assert list_spaces(database) == []
    if declared == "vector":
        # Another type rewrites the table, which is its owner's decision.
        with pytest.raises(ConfigurationError, match="does not say how long its vectors are") as refused:
            register_space(database, SMALL_SPACE, claim_vectors=True)
        execute(str(refused.value).partition("run ")[2].partition(", or")[0])
    register_space(database, SMALL_SPACE, claim_vectors=True)
    assert column_type(execute, "embedding") == "vector(8)"
    assert execute("SELECT chunk_hash FROM knowledge_base WHERE embedding = %s::vector", vector) == [(chunk_hash,)]


@pytest.mark.parametrize(
    ("space", "named"),
    [
        (SMALL_SPACE, ("EMBEDDING_DIMENSIONS: column", "set EMBEDDING_MODEL_NAME to the model")),
        (API, ("EMBEDDING_OPENAI_DIMENSIONS: column", "set EMBEDDING_OPENAI_MODEL to the model")),
    ],
)
def test_a_filled_column_of_another_length_names_the_settings_of_the_provider(database, execute, space, named):
    insert_chunks(database, ["text"])
    execute("ALTER TABLE knowledge_base ALTER COLUMN embedding TYPE vector")
    execute("UPDATE knowledge_base SET embedding = '[0,1]'")
    with pytest.raises(ConfigurationError) as caught:
        register_space(database, space, claim_vectors=True)
    assert all(setting in str(caught.value) for setting in named)
    with pytest.raises(ConfigurationError, match=r"EMBEDDING_DIMENSIONS|EMBEDDING_OPENAI_DIMENSIONS"):
        register_space(database, space)


def test_of_several_providers_at_once_one_owns_the_first_column(database):
    spaces = [dataclasses.replace(SMALL_SPACE, provider=f"p{number}") for number in range(3)] * 2
    barrier = threading.Barrier(len(spaces))

    def register(space):
        barrier.wait(180)
        register_space(database, space, new_provider=True)

    in_threads(*[partial(register, space) for space in spaces])
    columns = list_spaces(database)
    assert sorted(column.space.provider for column in columns) == ["p0", "p1", "p2"]
    assert min(column.name for column in columns) == "embedding"
    assert [column.serving for column in columns].count(True) == 1


def test_first_spaces_registered_at_once_agree_on_one(database):
    spaces = [dataclasses.replace(SMALL_SPACE, model=f"fake/{number}") for number in range(3)] * 2
    results = []
    barrier = threading.Barrier(len(spaces))

    def register(space):
        barrier.wait(180)
        try:
            results.append(register_space(database, space).space)
        except SpaceMismatchError:
            results.append(None)

    in_threads(*[partial(register, space) for space in spaces])
    [winner] = list_spaces(database)
    assert results.count(winner.space) == 2
    assert results.count(None) == 4


def test_a_new_column_gives_way_to_readers_and_is_added_when_they_are_gone(database, column, execute):
    """A reader must not queue behind it for long."""
    insert_chunks(database, ["text"])
    with database.connect() as reader:
        reader.execute("SELECT * FROM knowledge_base")
        with pytest.raises(DatabaseError, match="a lock on the table was waited for in vain"):
            register_space(_impatient(database), OTHER, new_space=True)
        thread = threading.Thread(target=register_space, args=(database, OTHER), kwargs={"new_space": True})
        thread.start()
        thread.join(0.5)
        reader.commit()
    thread.join(180)
    assert len(list_spaces(database)) == 2


def _impatient(database):
    config = database._config.model_copy(update={"retry_seconds": 0})
    return type(database)(database._conninfo, config)


def test_identity_survives_the_table(database):
    space = dataclasses.replace(FAKE_SPACE, prompt="Frage: 'äöü' \\ ", revision="sha256:" + "0" * 64)
    register_space(database, space)
    assert serving_space(database).space == space


def test_a_space_is_found_by_the_beginning_of_its_name_or_slug(database):
    register_space(database, FAKE_SPACE)
    register_space(database, API, new_provider=True)
    register_space(database, dataclasses.replace(API, dimensions=1536), new_space=True)
    columns = list_spaces(database)
    names = [column.space.name for column in columns]
    for column in columns:
        for name in (column.space.name, column.space.slug, column.space.name[:-1], column.space.slug[:-1]):
            assert match_space(columns, name) == column
    assert match_space(columns, "fake") == columns[0]
    assert match_space(columns, "openai-text-embedding-3-small-1") == columns[2]

    for name, listed, complaint in (
        ("openai", names[1:], "the names of several spaces begin with 'openai':"),
        ("text_embedding", names[1:], "the names of several spaces begin with 'text_embedding':"),
        ("OPENAI", names, "no space is called 'OPENAI'; there are:"),
        ("", names, "no space is called ''; there are:"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            match_space(columns, name)
        assert str(caught.value).split("\n  ") == [complaint, *listed]
    with pytest.raises(ConfigurationError, match="there is no space yet"):
        match_space([], "fake")
