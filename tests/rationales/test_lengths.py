import pytest
import sentencepiece

from dsbs_jax import cli
from dsbs_jax.errors import UserError
from dsbs_jax.rationales.card import command as card
from dsbs_jax.rationales.lengths import Lengths, in_tokens


def test_words():
    texts = ["one  two\nthree", "", "A man.</s>A dog sleeps."]
    assert Lengths().count(texts) == [3, 0, 5]
    assert Lengths().unit == "words"


@pytest.fixture
def vocabulary(tmp_path):
    """A small model, trained without the packages that read examples for a student."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["Jar 3: 4 red, 2 blue marbles.", "predict: red jar"]),
        model_prefix=str(tmp_path / "small"),
        vocab_size=29,
        minloglevel=2,
    )
    return tmp_path / "small.model"


def test_tokens_are_those_that_the_student_gets(vocabulary):
    lengths = in_tokens(vocabulary, 512, 128)
    model = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    texts = ["Jar 3: 4 red, 2 blue marbles.", "", "predict: red", "red</s>blue jar"]
    plain = [len(model.encode(text)) for text in texts[:3]]
    parted = len(model.encode("red")) + 1 + len(model.encode("blue jar"))
    assert lengths.count(texts) == [*plain, parted]
    assert lengths.unit == "tokens"


def test_a_file_that_is_no_vocabulary(tmp_path):
    path = tmp_path / "no.model"
    with pytest.raises(UserError, match=f"vocabulary {path}: no SentencePiece model"):
        in_tokens(path, 512, 128)
    path.write_bytes(b"\x80garbage" * 30)
    with pytest.raises(UserError, match=f"vocabulary {path}: no SentencePiece model"):
        in_tokens(path, 512, 128)


@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_bad_lengths(value):
    with pytest.raises(UserError, match="inputs length is .*expected a whole number"):
        Lengths(inputs=value)
    with pytest.raises(UserError, match="targets length is .*expected a whole number"):
        Lengths(targets=value)


@pytest.mark.parametrize(
    ("names", "lengths"),
    [
        (["cqa", "svamp", "svamp_asdiv", "anli1", "esnli"], card.RELEASED_LENGTHS),
        (["jsonl"], card.OWN_LENGTHS),
    ],
)
def test_defaults_are_those_of_the_gin_files(names, lengths):
    inputs, targets = lengths
    for name in names:
        text = (cli.config_dir() / f"datasets/{name}.gin").read_text()
        if "TASK_FEATURE_LENGTHS = " in text:
            assert f"{{'inputs': {inputs}, 'targets': {targets}, " in text
    default = Lengths()
    assert (default.inputs, default.targets) == card.OWN_LENGTHS
