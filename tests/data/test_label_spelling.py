import pytest

from dsbs_jax.data import vocabulary
from dsbs_jax.data.label_spelling import spell
from dsbs_jax.errors import UserError


@pytest.fixture(scope="module")
def pieces(tiny_vocabulary):
    return vocabulary.load(str(tiny_vocabulary))


def test_labels_are_encoded_with_the_end_token(pieces):
    spelled = spell(["red", "blue"], pieces, 8)
    assert spelled == [[*pieces.encode("red"), 1], [*pieces.encode("blue"), 1]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "the label set is empty"),
        (["red", " "], "label ' ' is empty"),
        (
            ["red", "r\u00e9d\u4e2d"],
            "'r\u00e9d\u4e2d' has characters .*: '\u00e9', '\u4e2d'; expected",
        ),
        (["red", "red"], "label 'red' is given twice"),
        (["red", "red  jar"], "'red  jar' reads back .* as 'red jar'"),
        (["red", "\uff52ed"], "'\uff52ed' reads back .* as 'red'"),
        (
            ["red", "red " * 9 + "red"],
            "tokens with the end token, expected at most .* 8",
        ),
        (["\u4e2d", "red", "\u6587"], "label '\u4e2d' has .*; label '\u6587' has "),
    ],
)
def test_labels_that_cannot_be_generated_are_named(pieces, labels, message):
    with pytest.raises(UserError, match=message):
        spell(labels, pieces, 8)


def test_error_names_the_first_faults_and_counts_the_others(pieces):
    with pytest.raises(UserError, match="; and 5 more labels with a fault$") as error:
        spell([chr(0x4E00 + n) for n in range(25)], pieces, 8)
    assert str(error.value).count("vocabulary lacks") == 20
