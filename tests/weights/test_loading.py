import dataclasses

import jax
import numpy as np
import pytest
from etils import epath
from flax import traverse_util

from dsbs_jax import cli, weights
from dsbs_jax.errors import UserError
from dsbs_jax.settings import settings_of
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import huggingface_reader, orbax_format, t5x_native
from support import buckets

SETTINGS = settings_of(T5Config)


def flat(params):
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


@pytest.fixture
def stored(student, tmp_path):
    """A student in every format except a run folder: model, parameters, folder."""
    model, params = student
    params = flat(params)
    (tmp_path / "hf").mkdir()
    huggingface_reader.write_model(tmp_path / "hf", params, model.config)
    (tmp_path / "native").mkdir()
    native = tmp_path / "native/checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(native), params)
    (tmp_path / "orbax").mkdir()
    orbax = tmp_path / "orbax/checkpoint_0"
    orbax_format.write_checkpoint(epath.Path(orbax), params)
    return model, params, tmp_path


@pytest.mark.parametrize(
    "path", ["hf", "native", "native/checkpoint_0", "orbax", "orbax/checkpoint_0"]
)
@pytest.mark.slow
def test_every_format_gives_the_same_student(stored, path):
    model, params, folder = stored
    reader = weights.open_checkpoint(str(folder / path))
    config = weights.config_of(reader)
    rate = config.dropout_rate
    assert config == dataclasses.replace(model.config, dropout_rate=rate)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape,
            leaf.dtype,
            sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
        ),
        traverse_util.unflatten_dict(params, sep="/"),
    )
    loaded = flat(weights.load_params(reader, abstract))
    assert loaded.keys() == params.keys()
    for name, array in params.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("stored", "expected", "message"),
    [
        ({"a": (1,)}, {"a": (1,), "b": (2,)}, r"b has shape none, expected \(2,\)"),
        ({"a": (1,), "b": (2,)}, {"a": (1,)}, r"b has shape \(2,\), expected none"),
        ({"a": (1,)}, {"a": (2,)}, r"a has shape \(1,\), expected \(2,\)"),
    ],
)
def test_error_names_the_parameter_that_differs(stored, expected, message):
    weights.check_shapes("it", expected, expected)
    with pytest.raises(UserError, match=f"it: parameter {message}"):
        weights.check_shapes("it", stored, expected)


class Shapes:
    location = "somewhere"

    def __init__(self, shapes):
        self._shapes = shapes

    def shapes(self):
        return self._shapes


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "rel_embedding is missing, expected the matrix of a T5"),
        (
            {"encoder/relpos_bias/rel_embedding": (4,)},
            r"rel_embedding has shape \(4,\), expected the matrix of a T5",
        ),
    ],
)
def test_parameters_of_another_network_are_an_error(shapes, message):
    with pytest.raises(UserError, match=f"somewhere: parameter .*{message}"):
        weights.config_of(Shapes(shapes))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("google/t5-v1_1-base", "found nothing .* write hub:google/t5-v1_1-base"),
        ("/no/where/at/all", "found nothing$"),
    ],
)
def test_missing_checkpoint_is_an_error(path, message):
    with pytest.raises(UserError, match=message):
        weights.open_checkpoint(path)


def test_sizes_that_are_not_set_come_from_the_checkpoint(stored):
    model, _, folder = stored
    values = {"DROPOUT_RATE": 0.25, "EMB_DIM": None, "NUM_HEADS": 2}
    config = weights.student_config(values, str(folder / "hf"), vocabulary_size=128)
    assert config == dataclasses.replace(model.config, dropout_rate=0.25)


def test_checkpoint_is_not_read_when_all_sizes_are_set(stored):
    model, _, _ = stored
    values = {info.macro: getattr(model.config, info.field) for info in SETTINGS}
    assert weights.student_config(values, "/no/where") == model.config


@pytest.mark.parametrize(
    ("macro", "value", "expected"),
    [
        ("EMB_DIM", 32, "16"),
        ("VOCAB_SIZE", 128, "48"),
        ("MLP_ACTIVATIONS", ["relu"], r"\('gelu', 'linear'\)"),
    ],
)
def test_size_that_differs_from_the_checkpoint_is_an_error(
    stored, macro, value, expected
):
    model, _, folder = stored
    if model.config.mlp_activations == ("relu",) and macro == "MLP_ACTIVATIONS":
        value, expected = ["gelu", "linear"], r"\('relu',\)"
    checkpoint = str(folder / "native")
    with pytest.raises(
        UserError, match=f"{macro} is .*, expected {expected} as in .*{checkpoint}"
    ):
        weights.student_config({macro: value}, checkpoint)


def test_vocabulary_gives_the_rows_of_a_new_student(stored):
    model, _, _ = stored
    values = {info.macro: getattr(model.config, info.field) for info in SETTINGS}
    del values["VOCAB_SIZE"]
    config = weights.student_config(values, vocabulary_size=256)
    assert config == dataclasses.replace(model.config, vocab_size=256)


def test_position_bias_of_another_kind_is_an_error(stored):
    model, params, folder = stored
    config = dataclasses.replace(model.config, relative_max_distance=64)
    (folder / "other").mkdir()
    huggingface_reader.write_model(folder / "other", params, config)
    with pytest.raises(UserError, match="relative_max_distance is 64, expected 128"):
        weights.student_config({}, str(folder / "other"))


def test_missing_size_is_an_error():
    with pytest.raises(UserError, match="checkpoint x: expected a run"):
        weights.student_config({}, "x")
    with pytest.raises(UserError, match="VOCAB_SIZE is not set: add a gin file"):
        weights.student_config({})
    with pytest.raises(UserError, match="EMB_DIM is not set: add a gin file"):
        weights.student_config({"VOCAB_SIZE": 128}, vocabulary_size=256)


def test_sizes_pretrained_has_the_macros_of_the_other_sizes():
    def macros(name):
        text = (cli.config_dir() / f"sizes/{name}.gin").read_text()
        return {line.split(" =")[0] for line in text.splitlines() if " = " in line}

    assert macros("pretrained") == macros("base")


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_a_model_folder_in_a_bucket_is_an_error(file, tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / file).write_text("{}")
    buckets.install(tmp_path, monkeypatch)
    with pytest.raises(UserError, match=f"^{buckets.BUCKET}/model is an address"):
        weights.open_checkpoint(f"{buckets.BUCKET}/model")
