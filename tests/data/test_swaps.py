import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import swaps
from dsbs_jax.errors import UserError

TERMS = swaps.read_pairs(["he:she", "New York:Lagos", "C++:Rust"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He said she left. HE did.", "She said he left. SHE did."),
        ("There, the shed is new.", "There, the shed is new."),
        ("from New York to Lagos", "from Lagos to New York"),
        ("C++ or rust", "Rust or C++"),
        ("NEW YORK, lagos", "LAGOS, New York"),
        ("", ""),
    ],
)
def test_complete_words_are_swapped(text, expected):
    assert swaps.swap(text, TERMS) == expected


@pytest.mark.parametrize(
    ("pair", "text", "expected"),
    [
        # Cases in which `str.casefold` and `re.IGNORECASE` differ.
        ("kadin:erkek", "bir kadın", "bir erkek"),
        ("groß:klein", "Groß oder klein", "Klein oder groß"),
        ("İzmir:Ankara", "İzmir, ankara", "Ankara, İzmir"),
    ],
)
def test_letters_with_several_forms_are_swapped(pair, text, expected):
    assert swaps.swap(text, swaps.read_pairs([pair])) == expected


@given(st.lists(st.sampled_from(["he", "she", "he's", "Lagos", "it", ".", "HE"])))
def test_a_second_swap_restores_the_text(words):
    text = " ".join(words)
    assert swaps.swap(swaps.swap(text, TERMS), TERMS) == text


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["he"], "the pair 'he' has not the form"),
        (["he:"], "the pair 'he:' has not the form"),
        (["he:He"], "two different terms"),
        (["kadin:KADıN"], "two different terms"),
        (["he:she", "She:it"], "the term 'She' is in two pairs"),
        ([], "no pair of terms is given"),
    ],
)
def test_bad_pairs(pairs, message):
    with pytest.raises(UserError, match=message):
        swaps.read_pairs(pairs)


def test_only_rows_with_a_term_are_written_and_keep_their_columns():
    rows = [
        {"id": "1", "input": "he", "label": "a", "x": 1},
        {"id": "2", "input": "it"},
    ]
    assert swaps.swapped_rows(rows, TERMS) == [rows[0] | {"input": "she"}]
    with pytest.raises(UserError, match="none of 1 inputs contains"):
        swaps.swapped_rows(rows[1:], TERMS)
