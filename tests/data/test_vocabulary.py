"""Tests of vocabularies and of the command that trains one."""

import shlex
import subprocess
import sys
import types

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from dsbs_jax import train_vocabulary
from dsbs_jax.data import vocabulary
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.released import reader

DATASETS = ["cqa", "svamp", "anli1"]


@pytest.fixture(scope="module")
def texts(release_dir):
    return list(train_vocabulary.released_texts(release_dir, DATASETS))


@pytest.fixture(scope="module")
def model(texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    vocabulary.train(texts, path, 250)
    return path


def test_special_ids_are_those_of_t5(model):
    loaded = vocabulary.load(str(model))
    assert (loaded.pad_id, loaded.eos_id, loaded.unk_id) == (0, 1, 2)
    bare = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert (bare.get_piece_size(), bare.bos_id()) == (250, -1)
    assert loaded.vocab_size == 350
    assert loaded.decode([349, 250]) == "<extra_id_0> <extra_id_99>"


@pytest.mark.parametrize("text", ["( 84.0 / 2.0 )", "Zq~{7}@|\\ x^y_z", "explain: a"])
def test_decoding_reverses_encoding(model, text):
    loaded = vocabulary.load(str(model))
    assert loaded.decode(loaded.encode(text)) == text


def test_digits_are_pieces_and_newlines_are_spaces(model):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    encoded = pieces.encode("12 + 345", out_type=str)
    assert [piece for piece in encoded if piece.isdigit()] == list("12345")
    assert pieces.encode("a\nb") == pieces.encode("a b")


@pytest.mark.parametrize(
    "size,problem",
    [
        (100_000, r"expected at most [0-9]{3}: "),
        (50, r"is 50, expected at least [0-9]+: "),
    ],
)
def test_an_impossible_size_leaves_the_file_unchanged(texts, tmp_path, size, problem):
    path = tmp_path / "old.model"
    path.write_text("old")
    with pytest.raises(UserError, match=problem):
        vocabulary.train(texts, path, size)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_text_and_missing_folder(texts, tmp_path):
    with pytest.raises(UserError, match="no text"):
        vocabulary.train([" ", "\n"], tmp_path / "a.model", 200)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a.model: cannot be written: "):
        vocabulary.train(texts, tmp_path / "file" / "a.model", 200)


def test_files_that_cannot_be_loaded(tmp_path):
    absent = str(tmp_path / "absent.model")
    with pytest.raises(UserError, match="absent.model: no such file$"):
        vocabulary.load(absent)
    with pytest.raises(UserError, match="write hub:google/t5-v1_1-base"):
        vocabulary.load("google/t5-v1_1-base")
    broken = tmp_path / "broken.model"
    broken.write_text("no model")
    with pytest.raises(UserError, match="broken.model: not a SentencePiece model"):
        vocabulary.load(str(broken))
    with pytest.raises(UserError, match="hub:not//an id: cannot be downloaded"):
        vocabulary.load("hub:not//an id")


def test_other_special_ids_are_refused(texts, tmp_path):
    prefix = tmp_path / "other"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(prefix),
        vocab_size=200,
        minloglevel=2,
    )
    with pytest.raises(UserError, match=r"are \(-1, 2, 0\), expected \(0, 1, 2\)"):
        vocabulary.load(f"{prefix}.model")


def test_texts_are_those_that_a_student_reads_or_writes():
    record = Record("a", "one</s>two", "yes", None, "since")
    assert list(vocabulary.texts_of([record])) == [
        "predict: ",
        "explain: ",
        "one</s>two",
        "yes",
        "since",
    ]


def test_only_training_text_is_used(release_dir):
    texts = set(train_vocabulary.released_texts(release_dir, ["svamp"]))
    release = reader.open_release(release_dir)
    read = release.read("svamp", "palm")
    assert {r.input for r in read["train"].records} <= texts
    assert not {r.input for r in read["validation"].records} & texts
    assert not {r.input for r in read["test"].records} & texts


@pytest.mark.parametrize("ids,rows", [(32_100, 32_128), (128, 128), (129, 256)])
def test_padded_size_is_a_multiple_of_128(ids, rows):
    assert vocabulary.padded_size(types.SimpleNamespace(vocab_size=ids)) == rows


@pytest.mark.parametrize("mark", ["▁", ""])
def test_sentinels_that_are_pieces_keep_their_ids(model, tmp_path, mark):
    """mT5's model has `▁<extra_id_99>` to `▁<extra_id_0>` as its last pieces."""
    plain = vocabulary.load(str(model))
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.read_bytes())
    for number in reversed(range(100)):
        proto.pieces.add(piece=f"{mark}<extra_id_{number}>", score=0.0, type=4)
    path = tmp_path / "spiece.model"
    path.write_bytes(proto.SerializeToString())
    words = vocabulary.load(str(path))
    assert (words.vocab_size, words.extra_ids) == (plain.vocab_size, 100)
    assert words.encode("a text 12") == plain.encode("a text 12")
    # Tokenizers that are exported have the pieces only, and add the sentinels.
    exported = sentencepiece.SentencePieceProcessor(
        model_file=words.sentencepiece_model_file
    )
    assert exported.get_piece_size() == plain.vocab_size - 100


def test_a_vocabulary_is_loaded_once(model):
    assert vocabulary.load(str(model)) is vocabulary.load(str(model))


def test_one_source_of_text_is_required():
    config = {"output_file": "x.model", "vocab_size": 100}
    for sources in ({}, {"release": "x"}, {"datasets": ["svamp"]}):
        with pytest.raises(UserError, match="expected either --release and --datasets"):
            train_vocabulary.VocabularyConfig(**config, **sources)
    with pytest.raises(UserError, match="VOCAB_SIZE is 3, expected int >= 4"):
        train_vocabulary.VocabularyConfig(
            output_file="x.model", vocab_size=3, data_files="x.jsonl"
        )


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_in_another_process(
    release_dir, model, tmp_path
):
    output = tmp_path / "it's.model"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dsbs_jax.train_vocabulary"),
            *(f"--output_file={output}", "--vocab_size=250"),
            *(f"--release={release_dir}", f"--datasets={','.join(DATASETS)}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (printed,) = done.stdout.splitlines()
    assert shlex.split(printed) == [f"--gin.VOCABULARY_PATH={output}"]
    assert output.read_bytes() == model.read_bytes()


def test_bucket_without_a_network_is_one_error(monkeypatch):
    # A proxy that refuses every connection.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(UserError, match="bucket cannot be reached .* VOCABULARY_PATH"):
        vocabulary.load("gs://no-such-bucket-of-mine/sentencepiece.model")


def test_file_that_replaces_another_one_is_read_again(tmp_path):
    path = tmp_path / "own.model"
    for word in ("alpha", "omega"):
        vocabulary.train([word] * 50, path, 300, at_most=True)
        loaded = vocabulary.load(str(path))
        assert len(loaded.encode(word)) < len(loaded.encode("gammas"))
        assert vocabulary.load(str(path)) is loaded


def test_bytes_have_the_ids_of_byt5(tmp_path):
    words = vocabulary.load("bytes")
    assert words.encode("aé") == [3 + byte for byte in "aé".encode()]
    assert words.decode([*words.encode("aé"), 1, 5]) == "aé"
    # The published embedding has 384 rows.
    assert vocabulary.padded_size(words) == 384
    folder = tmp_path / "byt5"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "ByT5Tokenizer"}'
    )
    assert vocabulary.load(str(folder)) == words
