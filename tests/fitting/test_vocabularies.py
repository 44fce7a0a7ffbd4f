"""Tests of the vocabulary that a fit chooses."""

import json
import shutil

import pytest
from fitting.conftest import record

from dsbs_jax.errors import UserError
from dsbs_jax.fitting import vocabularies

ROWS = {"train": [record(n, "red") for n in range(50)]}


def test_vocabulary_is_trained_on_the_training_rows_alone(tmp_path):
    splits = {**ROWS, "test": [record(60, "red", text="Ω has 3 marbles")]}
    chosen = vocabularies.choose(None, None, splits, tmp_path)
    assert (chosen.path, chosen.reason) == (
        None,
        "trained on the texts of 50 training rows",
    )
    assert chosen.words.decode(chosen.words.encode("Jar 3")) == "Jar 3"
    assert chosen.warnings == (
        "test: the vocabulary lacks 'Ω', on 1 of 1 rows; the student reads them as "
        "unknown",
    )


def test_same_rows_give_the_same_vocabulary(tmp_path):
    models = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        vocabularies.choose(None, None, ROWS, folder)
        models.append((folder / "sentencepiece.model").read_bytes())
    assert models[0] == models[1]


def test_given_vocabulary_comes_before_that_of_the_checkpoint(
    tiny_vocabulary, tmp_path
):
    shutil.copy(tiny_vocabulary, tmp_path / "spiece.model")
    own = vocabularies.choose(None, str(tmp_path), ROWS, tmp_path)
    assert (own.path, own.reason) == (
        str(tmp_path / "spiece.model"),
        "that of the checkpoint",
    )
    given = vocabularies.choose(str(tiny_vocabulary), str(tmp_path), ROWS, tmp_path)
    assert (given.path, given.reason) == (str(tiny_vocabulary), "given")


def test_hugging_face_folder_without_a_sentencepiece_model_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(UserError, match="has no spiece.model; give the SentencePiece"):
        vocabularies.choose(None, str(tmp_path), ROWS, tmp_path)


def test_number_of_pieces_follows_the_number_of_words():
    texts = [record(n, text=" ".join(["word"] * 99)) for n in range(2_500)]
    assert vocabularies.suitable_pieces(ROWS["train"]) == 240
    # 99 words of the input and one of the label.
    assert vocabularies.suitable_pieces(texts) == 1_000
    assert vocabularies.suitable_pieces(texts * 100) == 8_000
