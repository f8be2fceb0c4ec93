"""Rows of one text are found whatever their blanks, the largest groups first, within bounds."""

import pytest

from embedding_assets.postgres.duplicates.equal_texts import find_equal_texts
from embedding_assets.postgres.duplicates.place import LONG_CHARACTERS, MOST_PLACES
from embedding_assets_tests.support.judging import insert_documents
from embedding_assets_tests.support.shop import SHOPS, adopt_shop, fill, opened

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and so on."


def test_groups_the_largest_first(database):
    insert_documents(
        database,
        [
            ("a.md", "A", LICENCE),
            ("b.md", "B > Licence", f"  {LICENCE.replace(' ', chr(10) + ' ')}\t"),
            ("c.md", "C", LICENCE),
            ("d.md", "Question", "Yes."),
            ("e.md", "Question", "Yes. "),
            ("f.md", "Another question", "Yes."),
            ("g.md", "", "alone"),
        ],
    )
    found = find_equal_texts(database, 10)
    assert (found.rows, found.groups_in_all, found.repeats) == (7, 2, 3)
    assert [group.rows for group in found.groups] == [3, 2]
    assert {place.source for place in found.groups[0].places} == {"a.md", "b.md", "c.md"}
    assert {(place.source, place.header) for place in found.groups[1].places} == {
        ("d.md", "Question"), ("e.md", "Question")
    }  # fmt: skip
    assert find_equal_texts(database, 10) == found
    fewer = find_equal_texts(database, 1)
    assert (fewer.groups_in_all, fewer.groups) == (2, found.groups[:1])
    assert LICENCE not in repr(found)


def test_places_are_bounded_and_counted(database):
    insert_documents(database, [(f"{number}.md", "", LICENCE) for number in range(MOST_PLACES + 3)])
    [group] = find_equal_texts(database, 5).groups
    assert (group.rows, len(group.places)) == (MOST_PLACES + 3, MOST_PLACES)
    hashes = [place.chunk_hash for place in group.places]
    assert hashes == sorted(hashes)


def test_a_text_is_long_from_a_length_on(database):
    for length in (LONG_CHARACTERS - 1, LONG_CHARACTERS):
        insert_documents(database, [("a", "one", "x" * length), ("b", "two", "x" * length)])
    [group] = find_equal_texts(database, 5).groups
    assert [len(place.text) for place in group.places] == [LONG_CHARACTERS] * 2


def test_rows_without_text_are_no_group(database):
    insert_documents(database, [("a", "", " "), ("b", "", "\n"), ("c", "", "")])
    found = find_equal_texts(database, 5)
    assert (found.rows, found.groups) == (0, ())


@pytest.mark.parametrize("name", SHOPS)
def test_a_table_of_the_users(settings, beside, name):
    shop = SHOPS[name]
    fill(beside, shop, 20)
    with opened(adopt_shop(settings, shop)) as database:
        assert find_equal_texts(database, 5).rows == 20
        text = next(column for column in database.table.names)
        if shop.relation == "pages":
            text = "words"
        beside.execute(f"UPDATE {shop.relation} SET \"{text}\" = 'the same'")
        if shop.relation == "notes":
            beside.execute("UPDATE notes SET title = NULL, body = 'the same'")
        [group] = find_equal_texts(database, 5).groups
        assert (group.rows, len(group.places)) == (20, MOST_PLACES)
        assert all(place.key.keys() == shop.first_key.keys() for place in group.places)


def test_only_rows_that_are_embedded(settings, beside):
    fill(beside, SHOPS["bigint"], 20)
    beside.execute("UPDATE notes SET title = NULL, body = 'the same'")
    with opened(adopt_shop(settings, SHOPS["bigint"], where="lang = 'en'")) as database:
        assert find_equal_texts(database, 5).rows == 10
