from embedding_assets.postgres.adopting import adopt
from embedding_assets.postgres.foreign.matching import fingerprints, match_keys, read_texts
from embedding_assets.postgres.foreign.snapshot import snapshot
from embedding_assets_tests.support.fakes import insert_chunks


def test_rows_of_a_key_of_several_columns(settings, database, beside):
    beside.execute('CREATE TABLE o (a int, "b,c" text, title text, body text, deleted bool, PRIMARY KEY (a, "b,c"))')
    beside.execute(
        "INSERT INTO o SELECT n, 'x,\"' || n, 'title ' || n, 'body ' || n, n = 3 FROM generate_series(1, 3) n"
    )
    source = settings.with_group("source", relation="o", text="{title}\n{body}", where="NOT deleted").source
    table = adopt(database, source).table
    keys = [("2", 'x,"2'), ("2", 'x,"1'), ("1", 'x,"1'), ("3", 'x,"3')]
    with snapshot(database) as connection:
        found = match_keys(connection, table, None, keys)
        assert {place: match.row.key for place, match in found.items()} == {0: keys[0], 2: keys[2]}
        texts = read_texts(connection, table, [keys[0]])[keys[0]]
        assert found[0].row.fingerprint == fingerprints(connection, [texts.text])[0]
    assert texts.text == "title 2\nbody 2"
    assert texts.others == {"b,c": 'x,"2', "title": "title 2", "body": "body 2"}


def test_a_row_that_has_a_vector_is_known_as_one(database, beside):
    first, second = insert_chunks(database, ["one", "two"])
    beside.execute(
        "UPDATE knowledge_base SET embedding = array_fill(1, ARRAY[768])::vector WHERE chunk_hash = %s", [first]
    )
    with snapshot(database) as connection:
        found = match_keys(connection, database.table, "embedding", [(first,), (second,), ("0" * 64,)])
    assert {place: match.is_embedded for place, match in found.items()} == {0: True, 1: False}
