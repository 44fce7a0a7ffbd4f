import pytest

from dsbs_jax.counts import counted


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (0, ["row"], "0 rows"),
        (1, ["row"], "1 row"),
        (1_200, ["row"], "1,200 rows"),
        (1, ["reply is", "replies are"], "1 reply is"),
        (2, ["reply is", "replies are"], "2 replies are"),
    ],
)
def test_the_noun_agrees_with_the_number(number, words, expected):
    assert counted(number, *words) == expected
