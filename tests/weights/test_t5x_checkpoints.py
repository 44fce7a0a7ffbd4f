import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore
from etils import epath
from flax import serialization

from dsbs_jax import weights
from dsbs_jax.errors import UserError
from dsbs_jax.weights import orbax_format, t5x_native

NAME = "encoder/layers_0/attention/query/kernel"
FOLDER = "target.encoder.layers_0.attention.query.kernel"


def make_params(seed=0):
    rng = np.random.default_rng(seed)
    return {
        NAME: rng.normal(size=(6, 4)).astype(np.float32),
        "encoder/encoder_norm/scale": np.ones(6, np.float32),
        "decoder/decoder_norm/scale": np.zeros(6, np.float32),
    }


WRITERS = {
    "native": t5x_native.write_checkpoint,
    "orbax": orbax_format.write_checkpoint,
}


@pytest.fixture(params=sorted(WRITERS))
def written(request, tmp_path):
    params = make_params()
    WRITERS[request.param](epath.Path(tmp_path / "checkpoint_7"), params)
    return params, tmp_path


def test_round_trip_is_bitwise(written):
    params, folder = written
    reader = weights.open_checkpoint(str(folder))
    assert reader.location == str(folder / "checkpoint_7")
    assert reader.shapes() == {name: array.shape for name, array in params.items()}
    for name, array in params.items():
        np.testing.assert_array_equal(reader.read(name), array)
        assert reader.read(name).dtype == np.float32


@pytest.mark.parametrize("form", sorted(WRITERS))
@pytest.mark.parametrize("name", ["a%20b", "50%", "a#b?c", "a|b", "a b"])
def test_folder_names_with_special_characters(tmp_path, form, name):
    (tmp_path / name).mkdir()
    WRITERS[form](epath.Path(tmp_path / name / "checkpoint_0"), make_params())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    reader = weights.open_checkpoint(str(tmp_path / name))
    for parameter, array in make_params().items():
        np.testing.assert_array_equal(reader.read(parameter), array)


def test_part_of_an_array_is_read(written):
    params, folder = written
    reader = weights.open_checkpoint(str(folder))
    index = (slice(2, 5), slice(None))
    np.testing.assert_array_equal(reader.read(NAME, index), params[NAME][index])


def test_both_formats_of_t5x_give_the_same_parameters(t5x):
    native = weights.open_checkpoint(str(t5x.folder / "native"))
    orbax = weights.open_checkpoint(str(t5x.folder / "orbax"))
    assert native.shapes() == orbax.shapes()
    for name in native.shapes():
        np.testing.assert_array_equal(native.read(name), orbax.read(name))


def test_newest_checkpoint_is_read_without_scores(tmp_path):
    for step in (9, 10):
        t5x_native.write_checkpoint(
            epath.Path(tmp_path / f"checkpoint_{step}"), make_params(step)
        )
    (tmp_path / "checkpoint_11.orbax-checkpoint-tmp").mkdir()
    reader = weights.open_checkpoint(str(tmp_path))
    assert reader.location.endswith("checkpoint_10")


def test_array_in_the_index_is_read(tmp_path):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    index = serialization.msgpack_restore((path / "checkpoint").read_bytes())
    scale = np.arange(6, dtype=np.float32)
    index["optimizer"]["target"]["encoder"]["encoder_norm"]["scale"] = scale
    (path / "checkpoint").write_bytes(serialization.msgpack_serialize(index))
    reader = weights.open_checkpoint(str(path))
    np.testing.assert_array_equal(reader.read("encoder/encoder_norm/scale"), scale)
    part = reader.read("encoder/encoder_norm/scale", (slice(1, 3),))
    np.testing.assert_array_equal(part, scale[1:3])


def test_bfloat16_is_converted_to_float32(tmp_path):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    shutil.rmtree(path / FOLDER)
    bfloat16 = make_params()[NAME].astype(jnp.bfloat16)
    spec = {"driver": "zarr", "kvstore": f"file://{path}/{FOLDER}/"}
    metadata = {"shape": [6, 4], "chunks": [4, 3], "dtype": "bfloat16"}
    array = tensorstore.open({**spec, "metadata": metadata}, create=True).result()
    array.write(bfloat16).result()
    part = weights.open_checkpoint(str(path)).read(NAME, (slice(1, 6), slice(2, 4)))
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, bfloat16[1:6, 2:4].astype(np.float32))


def test_paths_in_the_index_are_not_used(tmp_path):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    index = serialization.msgpack_restore((path / "checkpoint").read_bytes())
    spec = index["optimizer"]["target"]["encoder"]["encoder_norm"]["scale"]
    spec["kvstore"]["path"] = "/etc/"
    (path / "checkpoint").write_bytes(serialization.msgpack_serialize(index))
    reader = weights.open_checkpoint(str(path))
    np.testing.assert_array_equal(
        reader.read("encoder/encoder_norm/scale"),
        make_params()["encoder/encoder_norm/scale"],
    )


@pytest.mark.parametrize("name", ["..", "a/../../b", ""])
def test_names_cannot_lead_out_of_the_checkpoint(tmp_path, name):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    index = serialization.msgpack_restore((path / "checkpoint").read_bytes())
    target = index["optimizer"]["target"]
    target[name] = target["encoder"]["encoder_norm"]["scale"]
    (path / "checkpoint").write_bytes(serialization.msgpack_serialize(index))
    with pytest.raises(UserError, match="is not the name of a parameter"):
        weights.open_checkpoint(str(path))


def test_missing_and_incomplete_arrays_are_errors(tmp_path):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    chunk = path / FOLDER / "0.0"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-9])
    with pytest.raises(UserError, match=f"checkpoint_0: parameter {NAME} cannot be"):
        weights.open_checkpoint(str(path)).read(NAME)
    chunk.unlink()
    with pytest.raises(UserError, match=f"parameter {NAME} cannot be read"):
        weights.open_checkpoint(str(path)).read(NAME)
    shutil.rmtree(path / FOLDER)
    with pytest.raises(UserError, match=f"parameter {NAME} cannot be read"):
        weights.open_checkpoint(str(path))


def test_array_with_another_shape_than_in_the_index_is_an_error(tmp_path):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    metadata = json.loads((path / FOLDER / ".zarray").read_text())
    (path / FOLDER / ".zarray").write_text(json.dumps({**metadata, "shape": [3, 4]}))
    with pytest.raises(UserError, match=rf"{NAME} .* of \[6,4\] but .*: \[3,4\]$"):
        weights.open_checkpoint(str(path))


def test_damaged_orbax_arrays_are_errors(tmp_path):
    path = tmp_path / "checkpoint_0"
    orbax_format.write_checkpoint(epath.Path(path), make_params())
    for file in path.glob("state/**/d/*"):
        file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(
        UserError, match="checkpoint_0: parameter .* cannot be read"
    ) as raised:
        reader = weights.open_checkpoint(str(path))
        [reader.read(name) for name in reader.shapes()]
    assert "tensorstore_spec" not in str(raised.value)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"tree_metadata": {"a": 1}}', "[" * 100_000]
)
def test_damaged_metadata_is_an_error(tmp_path, content):
    (tmp_path / "checkpoint_0/state").mkdir(parents=True)
    (tmp_path / "checkpoint_0/state/_METADATA").write_text(content)
    with pytest.raises(UserError, match="_METADATA: expected the metadata of an Orbax"):
        weights.open_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",
        b"\x81",
        serialization.msgpack_serialize({"optimizer": {}}),
        serialization.msgpack_serialize({"optimizer": {"target": [1]}}),
        serialization.msgpack_serialize({"optimizer": {"target": {"a": None}}}),
        serialization.msgpack_serialize({"optimizer": {}}) + b"more" * 1000,
    ],
)
def test_damaged_index_is_an_error(tmp_path, content):
    (tmp_path / "checkpoint_0").mkdir()
    (tmp_path / "checkpoint_0/checkpoint").write_bytes(content)
    message = "checkpoint: expected the index of a T5X checkpoint"
    with pytest.raises(UserError, match=message) as raised:
        weights.open_checkpoint(str(tmp_path))
    assert len(str(raised.value)) < 300


def test_integer_array_is_an_error(tmp_path):
    path = tmp_path / "checkpoint_0"
    orbax_format.write_checkpoint(epath.Path(path), {"a/b": np.ones((2, 2), np.int32)})
    reader = weights.open_checkpoint(str(path))
    with pytest.raises(UserError, match="parameter a/b has type int32"):
        reader.read("a/b")


def test_integer_array_in_the_index_is_an_error(tmp_path):
    path = tmp_path / "checkpoint_0"
    t5x_native.write_checkpoint(epath.Path(path), make_params())
    index = serialization.msgpack_restore((path / "checkpoint").read_bytes())
    scale = np.arange(6, dtype=np.int32)
    index["optimizer"]["target"]["encoder"]["encoder_norm"]["scale"] = scale
    (path / "checkpoint").write_bytes(serialization.msgpack_serialize(index))
    with pytest.raises(UserError, match="encoder_norm/scale has type int32"):
        weights.open_checkpoint(str(path)).read("encoder/encoder_norm/scale")


def write_run(folder, scores):
    for step, score in scores.items():
        checkpoint = epath.Path(folder / f"checkpoint_{step}")
        orbax_format.write_checkpoint(checkpoint, make_params(step))
        (checkpoint / "metrics").mkdir()
        (checkpoint / "metrics/metrics").write_text(json.dumps({"score": score}))


def test_checkpoint_with_the_best_score_is_read(tmp_path):
    write_run(tmp_path, {3: 0.5, 6: 0.75, 9: 0.75})
    reader = weights.open_checkpoint(str(tmp_path))
    assert reader.location.endswith("checkpoint_6")


@pytest.mark.parametrize(
    ("scores", "step"),
    [({3: 0.0, 6: float("-inf")}, 3), ({3: float("-inf"), 6: float("-inf")}, 6)],
)
def test_checkpoints_saved_between_evaluations_rank_last(tmp_path, scores, step):
    write_run(tmp_path, scores)
    reader = weights.open_checkpoint(str(tmp_path))
    assert reader.location.endswith(f"checkpoint_{step}")
