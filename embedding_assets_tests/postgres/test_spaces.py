"""Each vector space has a column of its own, and nothing else gets in."""

import dataclasses
import threading

import psycopg
import pytest

from embedding_assets.config import DatabaseConfig, IndexConfig
from embedding_assets.errors import ConfigurationError, DatabaseUnavailableError, SpaceMismatchError
from embedding_assets.postgres.connection import Database
from embedding_assets.postgres.failures import record_failures
from embedding_assets.postgres.index import build_vector_index, describe_index, drop_index
from embedding_assets.postgres.locks import PrefixLocks
from embedding_assets.postgres.schema import migrate
from embedding_assets.postgres.spaces import (
    list_spaces,
    match_space,
    pending_index_waits,
    register_space,
    serve_space,
    serving_space,
)
from embedding_assets.spaces import VectorSpace
from embedding_assets_tests.fakes import FAKE_SPACE, hash_of, insert_chunks
from embedding_assets_tests.postgres.conftest import SMALL_SPACE, insert_vectors, unit_vectors

OTHER = dataclasses.replace(FAKE_SPACE, model="fake/other", dimensions=12)
API = VectorSpace("openai", "text-embedding-3-small", "api.openai.com", 768, True, "", 8192)
LONG = dataclasses.replace(
    FAKE_SPACE, model="someone/An-Unreasonably.Long--Name_of_a_model-that-goes-on-and-on-and-on-" + "x" * 60
)


def column_type(execute, column: str) -> str:
    [(found,)] = execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'knowledge_base'::regclass AND attname = %s",
        column,
    )
    return found


def test_the_first_space_owns_the_first_column_and_serves(database):
    assert serving_space(database) is None
    record = register_space(database, FAKE_SPACE)
    assert (record.column, record.index, record.serving) == ("embedding", "idx_knowledge_embedding", True)
    assert describe_index(database, record.pending_index).valid
    assert register_space(database, FAKE_SPACE) == record
    assert serving_space(database) == record
    assert list_spaces(database) == [record]


@pytest.mark.parametrize(
    ("attribute", "value", "setting"),
    [
        ("model", "fake/other", "EMBEDDING_MODEL_NAME"),
        ("revision", "2", "EMBEDDING_MODEL_REVISION"),
        ("dimensions", 12, "EMBEDDING_DIMENSIONS"),
        ("max_tokens", 128, "EMBEDDING_MAX_SEQ_LENGTH"),
        ("provider", "another", "EMBEDDING_PROVIDER"),
        ("prompt", "passage: ", "prompt is 'passage: ', the table's is ''"),
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
    first, *middle, last = str(caught.value).splitlines()
    assert first == f"the table is embedded in space {API.name}, but the settings describe {space.name}:"
    assert [line.strip().startswith(setting) for line in middle] == [True]
    assert last.startswith(way)
    assert last.endswith("or set EMBEDDING_NEW_SPACE=true to give the new one a column and an index of its own")


def use(database, record):
    """Write something into a space."""
    insert_chunks(database, ["something"])
    fill(database, record)


def test_another_server_and_another_model_are_told_together(database):
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
    assert (second.column, second.serving) == (f"embedding_{API.slug}", False)
    assert register_space(database, API) == second
    assert list_spaces(database) == [first, second]


TYPO = dataclasses.replace(API, model="text-embeding-3-small", dimensions=512)


@pytest.mark.parametrize("first", [True, False], ids=["first", "further"])
def test_an_api_s_space_that_was_never_written_to_gives_way(database, execute, settings, first):
    """Nobody knew whether the model exists."""
    before = [] if first else [register_space(database, FAKE_SPACE)]
    insert_chunks(database, ["text"])
    wrong = register_space(database, TYPO, new_provider=True)
    build_vector_index(database, wrong, IndexConfig())
    record_failures(database, TYPO.name, {hash_of("text"): "model_not_found"}, settings.embedding)
    with pytest.raises(SpaceMismatchError):
        register_space(database, API)

    right = register_space(database, API, new_provider=True)

    assert list_spaces(database) == [*before, right]
    assert right.serving == wrong.serving == first
    assert (right.column == "embedding") == first
    assert column_type(execute, right.column) == "vector(768)"
    columns = execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'knowledge_base'")
    assert {c for (c,) in columns if c.startswith("embedding")} == {"embedding", right.column}
    assert execute("SELECT count(*) FROM embedding_failures") == [(0,)]
    fill(database, right)
    build_vector_index(database, right, IndexConfig())
    assert describe_index(database, right.index).valid
    with pytest.raises(SpaceMismatchError):
        register_space(database, TYPO, new_provider=True)


def test_an_api_s_space_does_not_give_way_while_a_run_is_at_it(database):
    register_space(database, FAKE_SPACE)
    record = register_space(database, API, new_provider=True)
    locks = PrefixLocks(database, record.space.name)
    locks.acquire(range(1))
    with pytest.raises(SpaceMismatchError):
        register_space(database, TYPO, new_provider=True)
    locks.close()
    assert register_space(database, TYPO, new_provider=True).space == TYPO


def test_an_api_s_space_does_not_give_way_once_it_was_written_to(database, monkeypatch):
    """Not even if that happens between the look and the change."""
    record = register_space(database, API)
    insert_chunks(database, ["text"])
    fill(database, record)
    monkeypatch.setattr("embedding_assets.postgres.spaces._find_unused", lambda *_: record)
    with pytest.raises(SpaceMismatchError):
        register_space(database, TYPO, new_provider=True)
    assert list_spaces(database) == [record]


def test_what_gave_way_to_another_in_the_meantime_is_left_alone(database, monkeypatch):
    first = register_space(database, FAKE_SPACE)
    gone = register_space(database, API, new_provider=True)
    register_space(database, TYPO, new_provider=True)
    monkeypatch.setattr("embedding_assets.postgres.spaces._find_unused", lambda *_: gone)
    with pytest.raises(SpaceMismatchError):
        register_space(database, API, new_provider=True)
    assert [record.space for record in list_spaces(database)] == [first.space, TYPO]


def test_with_permission_for_a_new_space_nothing_gives_way(database):
    record = register_space(database, API)
    further = register_space(database, TYPO, new_space=True, new_provider=True)
    assert list_spaces(database) == [record, further]


def test_further_spaces_have_columns_and_indexes_of_their_own(database, execute):
    first = register_space(database, FAKE_SPACE)
    records = [register_space(database, space, new_space=True) for space in (OTHER, LONG)]
    assert [(r.serving, column_type(execute, r.column)) for r in records] == [
        (False, "vector(12)"),
        (False, "vector(768)"),
    ]
    assert serving_space(database) == first
    assert list_spaces(database) == [first, *records]
    names = [name for r in [first, *records] for name in (r.column, r.index, r.pending_index)]
    assert len({name[:63] for name in names}) == len(names)
    for record in [first, *records]:
        assert all(
            len(name) <= 63 for name in (record.column, record.index, record.pending_index, f"{record.index}_new")
        )
        build_vector_index(database, record, IndexConfig())
        for name in (record.index, record.pending_index):
            found = execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid = %s::regclass", name)
            assert found == [(name,)]
    # Known by now, so they need no permission any more.
    assert register_space(database, OTHER) == records[0]


def test_a_further_space_s_partial_index_comes_with_its_vector_index(database):
    register_space(database, FAKE_SPACE)
    record = register_space(database, OTHER, new_space=True)
    assert pending_index_waits(database, record)
    assert not describe_index(database, record.pending_index).exists
    build_vector_index(database, record, IndexConfig())
    assert describe_index(database, record.pending_index).valid
    with database.session() as connection:
        drop_index(connection, record.pending_index)
    register_space(database, OTHER)
    assert describe_index(database, record.pending_index).valid


def test_where_hashes_are_not_in_byte_order_every_space_has_its_partial_index_at_once(empty_url):
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE knowledge_base (chunk_hash text UNIQUE, chunk_text text)")
    with Database(empty_url, DatabaseConfig()) as database:
        migrate(database)
        register_space(database, FAKE_SPACE)
        record = register_space(database, OTHER, new_space=True)
        assert not pending_index_waits(database, record)
        assert describe_index(database, record.pending_index).valid


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
        barrier.wait(10)
        register_space(database, space, new_provider=True)

    in_threads(register, spaces)
    records = list_spaces(database)
    assert sorted(record.space.provider for record in records) == ["p0", "p1", "p2"]
    assert min(record.column for record in records) == "embedding"
    assert [record.serving for record in records].count(True) == 1


def test_first_spaces_registered_at_once_agree_on_one(database):
    spaces = [dataclasses.replace(SMALL_SPACE, model=f"fake/{number}") for number in range(3)] * 2
    results = []
    barrier = threading.Barrier(len(spaces))

    def register(space):
        barrier.wait(10)
        try:
            results.append(register_space(database, space).space)
        except SpaceMismatchError:
            results.append(None)

    in_threads(register, spaces)
    [winner] = list_spaces(database)
    assert results.count(winner.space) == 2
    assert results.count(None) == 4


def test_a_new_column_gives_way_to_readers_and_is_added_when_they_are_gone(database, record, execute):
    """Whoever reads meanwhile must not queue behind it for long."""
    insert_chunks(database, ["text"])
    with database.connect() as reader:
        reader.execute("SELECT * FROM knowledge_base")
        with pytest.raises(DatabaseUnavailableError, match="lock timeout"):
            register_space(_impatient(database), OTHER, new_space=True)
        thread = threading.Thread(target=register_space, args=(database, OTHER), kwargs={"new_space": True})
        thread.start()
        thread.join(0.5)
        reader.commit()
    thread.join(20)
    assert len(list_spaces(database)) == 2


def in_threads(work, items):
    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


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
    records = list_spaces(database)
    names = [record.space.name for record in records]
    for record in records:
        for name in (record.space.name, record.space.slug, record.space.name[:-1], record.space.slug[:-1]):
            assert match_space(records, name) == record
    assert match_space(records, "fake") == records[0]
    assert match_space(records, "openai-text-embedding-3-small-1") == records[2]

    for name, listed, complaint in (
        ("openai", names[1:], "the names of several spaces begin with 'openai':"),
        ("text_embedding", names[1:], "the names of several spaces begin with 'text_embedding':"),
        ("OPENAI", names, "no space is called 'OPENAI'; there are:"),
        ("", names, "no space is called ''; there are:"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            match_space(records, name)
        assert str(caught.value).split("\n  ") == [complaint, *listed]
    with pytest.raises(ConfigurationError, match="there is no space yet"):
        match_space([], "fake")


def test_a_complete_space_is_switched_to_and_back(database, record):
    insert_vectors(database, record, unit_vectors(3))
    further = register_space(database, OTHER, new_space=True)
    with pytest.raises(ConfigurationError) as caught:
        serve_space(database, further)
    assert "3 of 3 chunks are not embedded in it" in str(caught.value)
    assert "EMBEDDING_PROVIDER=fake" in str(caught.value)
    assert "--force" in str(caught.value)
    assert serving_space(database) == record

    fill(database, further)
    assert not describe_index(database, further.pending_index).exists
    served = serve_space(database, further)

    assert served == dataclasses.replace(further, serving=True)
    assert list_spaces(database) == [dataclasses.replace(record, serving=False), served]
    assert describe_index(database, further.pending_index).valid, "the sensor probes it"
    assert database.run(lambda c: c.execute("SELECT count(embedding) FROM knowledge_base").fetchone()) == (3,)
    assert serve_space(database, served) == served
    assert serve_space(database, record).serving
    assert serving_space(database) == record


def fill(database, record):
    """A vector for every chunk."""
    vector = [1, *[0] * (record.space.dimensions - 1)]
    database.run(lambda c: c.execute(f"UPDATE knowledge_base SET {record.column} = %s::vector", [str(vector)]))


def test_what_is_quarantined_is_not_waited_for_but_what_is_to_be_tried_again_is(database, record, execute):
    further = register_space(database, OTHER, new_space=True)
    insert_chunks(database, ["good"])
    fill(database, further)
    [bad] = insert_chunks(database, ["bad"])
    execute(
        "INSERT INTO embedding_failures (chunk_hash, space, error_code, attempts, retry_at, quarantined) "
        "VALUES (%s, %s, 'x', 1, now() + interval '1 h', false)",
        bad,
        further.space.name,
    )
    with pytest.raises(ConfigurationError, match="1 of 2 chunks are not embedded"):
        serve_space(database, further)
    execute("UPDATE embedding_failures SET quarantined = true")
    assert serve_space(database, further).serving


def test_a_large_space_needs_its_index(database, record, monkeypatch):
    monkeypatch.setattr("embedding_assets.postgres.spaces.EXACT_SEARCH_ROWS", 4)
    further = register_space(database, OTHER, new_space=True)
    insert_chunks(database, [f"text {number}" for number in range(4)])
    fill(database, further)
    serve_space(database, further)
    serve_space(database, record, force=True)

    insert_chunks(database, ["one more"])
    fill(database, further)
    with pytest.raises(ConfigurationError, match=rf"complete: its index {further.index} is not built; "):
        serve_space(database, further)
    build_vector_index(database, further, IndexConfig())
    assert serve_space(database, further).serving


def test_an_incomplete_space_serves_only_when_forced(database, record):
    insert_chunks(database, ["text"])
    further = register_space(database, OTHER, new_space=True)
    with pytest.raises(ConfigurationError):
        serve_space(database, further)
    assert serve_space(database, further, force=True).serving
    assert describe_index(database, further.pending_index).valid


def test_two_that_switch_at_once_leave_one_that_serves(database, record):
    records = [record, register_space(database, OTHER, new_space=True), register_space(database, API, new_space=True)]
    barrier = threading.Barrier(6)
    outcomes = []

    def switch(to):
        barrier.wait(10)
        outcomes.append(serve_space(database, to).serving)

    in_threads(switch, records * 2)

    assert outcomes == [True] * 6
    serving = [record for record in list_spaces(database) if record.serving]
    assert len(serving) == 1
    assert describe_index(database, serving[0].pending_index).valid


def test_searches_always_find_one_space_that_serves(database, record):
    """While it is switched back and forth."""
    further = register_space(database, OTHER, new_space=True)
    seen = []
    done = threading.Event()

    def watch(_):
        while not done.is_set():
            seen.append([record.serving for record in list_spaces(database)].count(True))

    watcher = threading.Thread(target=watch, args=(None,))
    watcher.start()
    try:
        for _ in range(5):
            serve_space(database, further)
            serve_space(database, record)
    finally:
        done.set()
        watcher.join(10)
    assert set(seen) == {1}
