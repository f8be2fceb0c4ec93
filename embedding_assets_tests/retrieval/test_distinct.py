"""Equal texts."""

from embedding_assets.retrieval.distinct import fold
from embedding_assets_tests.support.searching import found_chunk

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software."


def folded(*chunks: tuple[str, str]) -> list[tuple[str, list[str]]]:
    found = [found_chunk(str(number), text=text, header=header) for number, (header, text) in enumerate(chunks)]
    return [(group.best.chunk_hash, [other.chunk_hash for other in group.others]) for group in fold(found)]


def test_equal_texts_come_once_in_the_order_of_the_best():
    assert folded(("", "a"), ("", LICENCE), ("", "b"), ("", LICENCE), ("", "a"), ("", LICENCE)) == [
        ("0", ["4"]),
        ("1", ["3", "5"]),
        ("2", []),
    ]
    assert folded() == []


def test_a_long_text_is_the_same_under_any_heading_and_a_short_one_is_not():
    assert folded(("A > License", LICENCE), ("B > License", LICENCE)) == [("0", ["1"])]
    assert folded(("Is it dry?", "Yes."), ("Is it wet?", "Yes."), ("Is it dry?", "Yes.")) == [("0", ["2"]), ("1", [])]


def test_blanks_make_no_difference():
    assert folded(("", "a  b\n"), ("", "a b"), ("", "ab")) == [("0", ["1"]), ("2", [])]
