import gin
import numpy as np
import pytest

from dsbs_jax.data import features, vocabulary


@pytest.fixture(autouse=True)
def configured(configure_tiny):
    configure_tiny(MODEL_DIR="x")


def test_vocabulary_is_the_one_that_the_settings_name(tiny_vocabulary):
    loaded = vocabulary.load(str(tiny_vocabulary))
    placeholder = features.VOCABULARY
    assert placeholder.vocab_size == loaded.vocab_size == 204
    assert (placeholder.pad_id, placeholder.eos_id, placeholder.unk_id) == (0, 1, 2)
    assert placeholder.bos_id == loaded.bos_id
    assert placeholder.extra_ids == 100
    text = "Jar 3: 4 red, 8 white marbles."
    assert placeholder.encode(text) == loaded.encode(text)
    np.testing.assert_array_equal(placeholder.encode_tf(text), loaded.encode(text))
    assert placeholder.decode(loaded.encode(text)) == text
    ids = np.asarray(loaded.encode(text), np.int32)
    assert placeholder.decode_tf(ids).numpy().decode() == text


def test_decoding_stops_at_the_end_of_sequence():
    ids = features.VOCABULARY.encode("red")
    assert features.VOCABULARY.decode([*ids, 1, *ids, 0, 0]) == "red"


def test_equals_what_it_stands_for_and_every_other_of_its_kind(tiny_vocabulary):
    placeholder = features.VOCABULARY
    assert placeholder == features.ConfiguredVocabulary()
    assert placeholder == vocabulary.load(str(tiny_vocabulary))
    assert placeholder != vocabulary.load(str(tiny_vocabulary), extra_ids=0)


def test_follows_the_settings_at_the_time_of_use(
    configure_tiny, tmp_path, tiny_vocabulary
):
    other = tmp_path / "other.model"
    vocabulary.train(["green tea, black tea " * 3], other, vocab_size=99)
    before = features.VOCABULARY.vocab_size
    configure_tiny(MODEL_DIR="x", VOCABULARY_PATH=str(other))
    assert features.VOCABULARY.vocab_size == 199 != before


def test_names_the_missing_setting():
    gin.clear_config()
    with pytest.raises(RuntimeError, match="path"):
        _ = features.VOCABULARY.vocab_size


def test_targets_and_inputs_end_and_task_ids_pass_through():
    ends = {name: f.add_eos for name, f in features.OUTPUT_FEATURES.items()}
    assert ends == {"inputs": True, "targets": True, "task_ids": False}
