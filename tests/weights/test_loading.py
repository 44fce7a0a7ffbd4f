import gin
import jax
import numpy as np
import pytest
from etils import epath
from flax import traverse_util

from dsbs_jax import cli
from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import huggingface_reader as huggingface_weights
from dsbs_jax.weights import loading as weights
from dsbs_jax.weights import t5x_checkpoints as checkpoint_files


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


def flat(params):
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


@pytest.fixture
def stored(student, tmp_path):
    """The same student in every format that needs no run: by name, a path."""
    model, params = student
    params = flat(params)
    (tmp_path / "hf").mkdir()
    huggingface_weights.write(tmp_path / "hf", params, model.config)
    (tmp_path / "native").mkdir()
    native = tmp_path / "native/checkpoint_0"
    checkpoint_files.write_native(epath.Path(native), params)
    (tmp_path / "orbax").mkdir()
    orbax = tmp_path / "orbax/checkpoint_0"
    checkpoint_files.write_orbax(epath.Path(orbax), params)
    return model, params, tmp_path


@pytest.mark.parametrize(
    "path", ["hf", "native", "native/checkpoint_0", "orbax", "orbax/checkpoint_0"]
)
def test_every_format_gives_the_student_and_its_parameters(stored, path):
    model, params, folder = stored
    source = weights.open_weights(str(folder / path))
    found = weights.config_of(source)
    ours = T5Config(**{**vars(model.config), "dropout_rate": found.dropout_rate})
    assert found == ours
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape,
            leaf.dtype,
            sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
        ),
        traverse_util.unflatten_dict(params, sep="/"),
    )
    loaded = flat(weights.load(source, abstract))
    assert loaded.keys() == params.keys()
    for name, array in params.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        ({"a": (1,)}, {"a": (1,), "b": (2,)}, r"b has shape none, expected \(2,\)"),
        ({"a": (1,), "b": (2,)}, {"a": (1,)}, r"b has shape \(2,\), expected none"),
        ({"a": (1,)}, {"a": (2,)}, r"a has shape \(1,\), expected \(2,\)"),
    ],
)
def test_parameter_that_differs_is_named(found, expected, message):
    weights.check_shapes("it", expected, expected)
    with pytest.raises(UserError, match=f"it: parameter {message}"):
        weights.check_shapes("it", found, expected)


class Shapes:
    where = "somewhere"

    def __init__(self, shapes):
        self._shapes = shapes

    def shapes(self):
        return self._shapes


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, "rel_embedding is missing, expected one of 2 axes"),
        (
            {"encoder/relpos_bias/rel_embedding": (4,)},
            r"rel_embedding has shape \(4,\), expected one of 2 axes",
        ),
    ],
)
def test_what_is_no_t5_is_named(shapes, message):
    with pytest.raises(UserError, match=f"somewhere: parameter .*{message}"):
        weights.config_of(Shapes(shapes))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("google/t5-v1_1-base", "found nothing .* write hub:google/t5-v1_1-base"),
        ("/no/where/at/all", "found nothing$"),
    ],
)
def test_what_is_not_there(path, message):
    with pytest.raises(UserError, match=message):
        weights.open_weights(path)


def configure(path, **macros):
    changed = [f"{name} = {value!r}" for name, value in macros.items()]
    cli.configure(
        ["sizes/pretrained.gin", "local/student.gin"],
        [f"STUDENT_CHECKPOINT = {str(path)!r}", *changed],
    )


def test_size_is_read_from_the_checkpoint_and_kept(stored):
    model, _, folder = stored
    configure(folder / "hf", DROPOUT_RATE=0.25)
    found = weights.student_config()
    assert found == T5Config(**{**vars(model.config), "dropout_rate": 0.25})
    # What a run saves no longer needs the checkpoint.
    (folder / "config.gin").write_text(gin.config_str())
    cli.configure([str(folder / "config.gin")], ["STUDENT_CHECKPOINT = '/no/where'"])
    assert weights.student_config() == found


def test_size_that_differs_from_the_checkpoint_is_named(stored):
    _, _, folder = stored
    configure(folder / "native", EMB_DIM=32)
    with pytest.raises(UserError, match="emb_dim is 16, the settings say 32"):
        weights.student_config()


def test_size_that_nothing_says():
    configure("x")
    with pytest.raises(UserError, match="weights x: expected a run"):
        weights.student_config()
    cli.configure(["sizes/pretrained.gin", "local/student.gin"])
    with pytest.raises(UserError, match="vocab_size is not set: give a gin file"):
        weights.student_config()


def test_pretrained_leaves_out_what_the_sizes_set():
    def macros(name):
        text = (cli.config_dir() / f"sizes/{name}.gin").read_text()
        return {line.split(" =")[0] for line in text.splitlines() if " = " in line}

    assert macros("pretrained") == macros("base")
