import json
import resource
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax import files, weights
from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local.label_scorer import LabelScorer
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.weights import convert, huggingface_reader
from support.students import NETWORKS, forward, make_student

NEEDS = "needs the extra `hf`"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "small.model"
    vocabulary.train(["a red jar and a blue jar", "which is more?"] * 9, path, 100)
    return path


@pytest.fixture(params=sorted(NETWORKS))
def exported(request, model_file, tmp_path):
    """A student and its Hugging Face folder, which is converted from T5X's format."""
    model, params = make_student(
        request.param, vocab_size=256, num_decoder_layers=3, dropout_rate=0.1
    )
    params = jax.device_get(params)
    flat = traverse_util.flatten_dict(params, sep="/")
    (tmp_path / "hf0").mkdir()
    huggingface_reader.write_model(tmp_path / "hf0", flat, model.config)
    convert_to(tmp_path / "native", tmp_path / "hf0", "t5x")
    out = tmp_path / "hf"
    convert_to(out, tmp_path / "native", vocabulary_path=str(model_file))
    return model, params, out


def convert_to(output, checkpoint, format="hf", **settings):
    config = convert.ConvertConfig(
        checkpoint_path=str(checkpoint),
        output_dir=str(output),
        format=format,
        **settings,
    )
    return convert.convert(config)


def read_all(path):
    reader = weights.open_checkpoint(str(path))
    return {name: reader.read(name) for name in reader.shapes()}


def test_every_round_trip_is_bitwise(exported, tmp_path):
    """Hugging Face -> T5X native -> Hugging Face -> T5X Orbax."""
    _, params, folder = exported
    convert_to(tmp_path / "orbax", folder, "t5x_orbax")
    expected = traverse_util.flatten_dict(params, sep="/")
    for path in (folder, tmp_path / "native", tmp_path / "orbax"):
        params = read_all(path)
        assert params.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(params[name], expected[name], err_msg=name)


@pytest.mark.slow
def test_transformers_loads_the_folder_and_gives_the_same_logits(exported):
    torch = pytest.importorskip("torch", reason=NEEDS)
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    model, params, folder = exported
    theirs, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        folder, output_loading_info=True
    )
    theirs.eval()
    assert not report["missing_keys"] and not report["unexpected_keys"]
    rng = np.random.default_rng(0)
    inputs = rng.integers(2, 256, (3, 9)).astype(np.int32)
    decoder = rng.integers(2, 256, (3, 5)).astype(np.int32)
    decoder[:, 0] = 0
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.from_numpy(inputs.astype(np.int64)),
            decoder_input_ids=torch.from_numpy(decoder.astype(np.int64)),
        ).logits.numpy()
    logits = forward(
        model,
        params,
        {"encoder_input_tokens": inputs, "decoder_input_tokens": decoder},
    )
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    assert theirs.generation_config.eos_token_id == 1


@pytest.mark.slow
def test_label_scores_equal_those_of_transformers(exported, model_file):
    """Texts in both libraries: each has its own tokenizer, weights and loss."""
    torch = pytest.importorskip("torch", reason=NEEDS)
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    model, params, folder = exported
    texts = ["which jar is red?", "a blue jar and a red jar, which is more?", "red"]
    labels = ["red", "blue", "red jar", "red jar and blue jar", "which is more"]
    vocab = vocabulary.load(str(model_file))
    partitioner = Partitioner(1, jax.local_devices()[:1])
    scorer = LabelScorer(model, labels, vocab, partitioner, 2, 32)
    inputs = [np.asarray([*vocab.encode(text), 1], np.int32) for text in texts]
    scores = scorer(params, inputs)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, text in zip(scores, texts, strict=True):
        for value, label in zip(row, labels, strict=True):
            source = tokenizer(text, return_tensors="pt").input_ids
            target = tokenizer(label, return_tensors="pt").input_ids
            with torch.no_grad():
                loss = theirs(input_ids=source, labels=target).loss.item()
            expected = -loss * target.shape[1]
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-4)


def test_every_file_has_the_usual_permissions(exported):
    _, _, folder = exported
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {
        files.default_mode()
    }


@pytest.mark.slow
def test_folder_saved_by_transformers_has_the_same_parameters(exported, tmp_path):
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    _, params, folder = exported
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "saved")
    saved = read_all(tmp_path / "saved")
    for name, array in traverse_util.flatten_dict(params, sep="/").items():
        np.testing.assert_array_equal(saved[name], array, err_msg=name)


@pytest.mark.slow
def test_tokenizer_of_the_folder_equals_the_vocabulary(exported, model_file):
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    _, _, folder = exported
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = vocabulary.load(str(model_file))
    text = "which jar is red, 17 or blue?"
    assert theirs(text).input_ids == [*ours.encode(text), 1]
    assert theirs.convert_tokens_to_ids("<extra_id_0>") == ours.vocab_size - 1
    assert len(theirs) == ours.vocab_size


@pytest.mark.slow
def test_tokenizer_of_a_hugging_face_folder_is_copied(exported, tmp_path):
    _, _, folder = exported
    convert_to(tmp_path / "copy", folder)
    for name in ("spiece.model", "tokenizer_config.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, "FORMAT is 'onnx', expected 'hf' or 't5x' or 't5x_orbax'"),
        ({"checkpoint": "native"}, "has no tokenizer: give .* --vocabulary_path"),
        ({"checkpoint": "nowhere"}, "expected a run folder, .* found nothing"),
        ({"output": "native"}, "native: exists already"),
        ({"output": "hf/config.json/deep"}, "cannot be written"),
        ({"checkpoint": "native", "vocabulary_path": "no"}, "no: no such file"),
    ],
)
@pytest.mark.slow
def test_failed_conversion_leaves_no_files(exported, tmp_path, changes, message):
    before = sorted(tmp_path.rglob("*"))
    arguments = {"checkpoint": "hf", "output": "new", **changes}
    for name in ("checkpoint", "output"):
        arguments[name] = tmp_path / arguments[name]
    with pytest.raises(UserError, match=message):
        convert_to(**arguments)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_damaged_checkpoint_leaves_no_files(exported, tmp_path):
    (tmp_path / "native/target.encoder.encoder_norm.scale/0").unlink()
    with pytest.raises(UserError, match="encoder/encoder_norm/scale cannot be read"):
        convert_to(tmp_path / "new", tmp_path / "native", "t5x_orbax")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


@pytest.mark.parametrize("format", ["hf", "t5x", "t5x_orbax"])
@pytest.mark.slow
def test_full_disk_gives_one_error_and_leaves_no_files(exported, tmp_path, format):
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(UserError, match="new: cannot be written"):
            convert_to(tmp_path / "new", tmp_path / "hf", format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_vocabulary_with_more_ids_than_rows_is_an_error(exported, tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 200)))
    vocabulary.train([text], tmp_path / "large.model", 298)
    with pytest.raises(UserError, match="VOCAB_SIZE is 256, expected .* 398 ids"):
        convert_to(
            tmp_path / "new",
            tmp_path / "native",
            vocabulary_path=str(tmp_path / "large.model"),
        )


@pytest.mark.slow
def test_help_lists_the_settings_and_succeeds():
    command = [sys.executable, "-m", "dsbs_jax.weights.convert", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    for flag in ("--checkpoint_path", "--output_dir", "--format", "--vocabulary_path"):
        assert f"  {flag}  (" in result.stdout


def test_config_is_read_alike_by_transformers_4_and_5(exported):
    model, _, folder = exported
    values = json.loads((folder / "config.json").read_text())
    tied = model.config.logits_via_embedding
    assert values["tie_word_embeddings"] is values["scale_decoder_outputs"] is tied
