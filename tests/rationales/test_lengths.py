import pytest
import sentencepiece

from dsbs_jax.data import dataset_spec
from dsbs_jax.data.dataset_spec import FeatureLengths
from dsbs_jax.errors import UserError
from dsbs_jax.rationales.card.config import CardConfig
from dsbs_jax.rationales.lengths import in_tokens, in_words

LIMITS = FeatureLengths(512, 128)


def test_lengths_in_words():
    limits = in_words(LIMITS)
    texts = ["one  two\nthree", "", "A man.</s>A dog sleeps."]
    assert limits.count(texts) == [3, 0, 5]
    assert (limits.inputs, limits.targets, limits.unit) == (512, 128, "words")


@pytest.fixture
def vocabulary(tmp_path):
    """A small model, trained without the packages that read a student's examples."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["Jar 3: 4 red, 2 blue marbles.", "predict: red jar"]),
        model_prefix=str(tmp_path / "small"),
        vocab_size=29,
        minloglevel=2,
    )
    return tmp_path / "small.model"


def test_lengths_in_tokens_are_those_that_the_student_reads(vocabulary):
    limits = in_tokens(vocabulary, LIMITS)
    model = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    texts = ["Jar 3: 4 red, 2 blue marbles.", "", "predict: red", "red</s>blue jar"]
    plain = [len(model.encode(text)) for text in texts[:3]]
    with_separator = len(model.encode("red")) + 1 + len(model.encode("blue jar"))
    assert limits.count(texts) == [*plain, with_separator]
    assert limits.unit == "tokens"


def test_a_file_that_is_not_a_vocabulary(tmp_path):
    path = tmp_path / "no.model"
    with pytest.raises(UserError, match=f"vocabulary {path}: cannot be read as a Sent"):
        in_tokens(path, LIMITS)
    path.write_bytes(b"\x80garbage" * 30)
    with pytest.raises(UserError, match=f"vocabulary {path}: cannot be read as a Sent"):
        in_tokens(path, LIMITS)


@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_bad_lengths_are_errors(value):
    paths = {"data_files": "x.jsonl", "output_dir": "card"}
    with pytest.raises(UserError, match="INPUTS_LENGTH is .*, expected int >= 1"):
        CardConfig(inputs_length=value, **paths)
    with pytest.raises(UserError, match="TARGETS_LENGTH is .*, expected int >= 1"):
        CardConfig(targets_length=value, **paths)


@pytest.mark.parametrize("dataset", dataset_spec.names())
def test_limits_are_those_of_the_dataset(dataset):
    lengths = dataset_spec.get(dataset).feature_lengths
    limits = in_words(lengths)
    assert (limits.inputs, limits.targets) == (lengths.inputs, lengths.targets)
    expected = (512, 128) if dataset == "default" else (1024, 256)
    assert (lengths.inputs, lengths.targets) == expected
