import dataclasses
import json
import pathlib
import pickle

import jax
import numpy as np
import pytest
from flax import serialization, traverse_util
from safetensors.numpy import load_file, save_file

from dsbs_jax import weights
from dsbs_jax.errors import UserError
from dsbs_jax.weights import huggingface_names, huggingface_reader
from dsbs_jax.weights.huggingface_reader import HuggingFaceReader
from support.students import VERSIONS, make_student

SHARED, LM_HEAD = "shared.weight", "lm_head.weight"
BIAS = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def flat(params):
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


def read_all(reader):
    return {name: reader.read(name) for name in reader.shapes()}


def assert_same(params, expected):
    assert params.keys() == expected.keys()
    for name in expected:
        assert params[name].dtype == np.float32
        np.testing.assert_array_equal(params[name], expected[name], err_msg=name)


@pytest.fixture(params=sorted(VERSIONS))
def written(request, tmp_path):
    """A student's config, its parameters, and the folder they are written to."""
    model, params = make_student(request.param, num_decoder_layers=3, dropout_rate=0.1)
    folder = tmp_path / "model"
    folder.mkdir()
    huggingface_reader.write_model(folder, flat(params), model.config)
    return model.config, flat(params), folder


@pytest.fixture
def v1_1(tmp_path):
    model, params = make_student("t5_1_1")
    folder = tmp_path / "model"
    folder.mkdir()
    huggingface_reader.write_model(folder, flat(params), model.config)
    return folder


def change(folder, edit):
    """Rewrites the weights after `edit` has changed the tensors."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def shard(folder, name, save):
    """Splits a folder's weights into two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem, suffix = name.rsplit(".", 1)
    parts = {}
    for number in range(2):
        part = f"{stem}-0000{number + 1}-of-00002.{suffix}"
        names = sorted(tensors)[number::2]
        save({n: tensors[n] for n in names}, folder / part)
        parts.update(dict.fromkeys(names, part))
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": parts}))


def save_msgpack(tensors, path):
    tree = {}
    for name, array in tensors.items():
        *rest, leaf = name.split(".")
        if rest[-1] in ("shared", "relative_attention_bias"):
            leaf = "embedding"
        elif array.ndim == 2:
            leaf, array = "kernel", array.T
        tree[(*rest, leaf)] = array
    nested = traverse_util.unflatten_dict(tree)
    path.write_bytes(serialization.msgpack_serialize(nested))


def save_torch(tensors, path):
    torch = pytest.importorskip("torch", reason="needs the extra `hf`")
    torch.save({n: torch.from_numpy(a.copy()) for n, a in tensors.items()}, path)


def test_round_trip_is_bitwise(written):
    config, params, folder = written
    reader = HuggingFaceReader(folder)
    assert reader.config == config
    assert reader.shapes() == {name: leaf.shape for name, leaf in params.items()}
    assert_same(read_all(reader), params)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("model.safetensors", save_file),
        ("flax_model.msgpack", save_msgpack),
        ("pytorch_model.bin", save_torch),
    ],
)
@pytest.mark.slow
def test_every_file_format_gives_the_same_parameters(written, name, save, sharded):
    config, params, folder = written
    if sharded:
        shard(folder, name, save)
    else:
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        save(tensors, folder / name)
    reader = HuggingFaceReader(folder)
    assert reader.config == config
    assert_same(read_all(reader), params)
    kernel = "encoder/layers_1/mlp/wo/kernel"
    index = (slice(3, 9), slice(0, 5))
    np.testing.assert_array_equal(reader.read(kernel, index), params[kernel][index])


def test_half_precision_is_converted_to_float32(v1_1):
    torch = pytest.importorskip("torch", reason="needs the extra `hf`")
    exact = read_all(HuggingFaceReader(v1_1))
    tensors = load_file(v1_1 / "model.safetensors")
    (v1_1 / "model.safetensors").unlink()
    halves = {n: torch.from_numpy(a).bfloat16() for n, a in tensors.items()}
    torch.save(halves, v1_1 / "pytorch_model.bin")
    from_torch = read_all(HuggingFaceReader(v1_1))
    from safetensors.torch import save_file as save_halves

    (v1_1 / "pytorch_model.bin").unlink()
    save_halves(halves, v1_1 / "model.safetensors")
    assert_same(read_all(HuggingFaceReader(v1_1)), from_torch)
    for name, array in exact.items():
        np.testing.assert_allclose(from_torch[name], array, rtol=2**-8)


def test_each_device_reads_its_own_part(v1_1):
    mesh = jax.make_mesh((1,), ("model",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("model"))
    reader = HuggingFaceReader(v1_1)
    abstract = {
        name: jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)
        for name, shape in reader.shapes().items()
    }
    loaded = weights.load_params(
        reader, traverse_util.unflatten_dict(abstract, sep="/")
    )
    assert_same(flat(loaded), read_all(reader))


@pytest.mark.slow
def test_tensors_decide_tied_and_the_config_decides_scaled(written):
    config, params, folder = written
    if not config.logits_via_embedding:
        # Transformers 5 writes "tied" for every T5.
        change_config(folder, tie_word_embeddings=True, scale_decoder_outputs=False)
        assert HuggingFaceReader(folder).config == config
        # Tied and not scaled becomes untied, with the embedding as the output kernel.
        change(folder, lambda tensors: tensors.pop(LM_HEAD))
        reader = HuggingFaceReader(folder)
        assert reader.config == config
        expected = params["token_embedder/embedding"].T
        np.testing.assert_array_equal(reader.read(huggingface_names.OUTPUT), expected)
        part = reader.read(huggingface_names.OUTPUT, (slice(2, 5), slice(1, 9)))
        np.testing.assert_array_equal(part, expected[2:5, 1:9])
        return
    # Without the key of Transformers 5, tied means scaled.
    values = json.loads((folder / "config.json").read_text())
    del values["scale_decoder_outputs"]
    (folder / "config.json").write_text(json.dumps(values))
    assert HuggingFaceReader(folder).config == config
    change(folder, lambda t: t.update({LM_HEAD: t[SHARED].copy()}))
    assert HuggingFaceReader(folder).config == config
    # Untied and scaled: the output kernel includes the factor.
    change(folder, lambda t: t.update({LM_HEAD: t[SHARED] + 1}))
    reader = HuggingFaceReader(folder)
    assert reader.config == dataclasses.replace(config, logits_via_embedding=False)
    expected = (params["token_embedder/embedding"].T + 1) * config.emb_dim**-0.5
    np.testing.assert_allclose(
        reader.read(huggingface_names.OUTPUT), expected, rtol=1e-6
    )


def test_unused_tensors_and_copies_are_ignored(v1_1):
    before = read_all(HuggingFaceReader(v1_1))

    def add(tensors):
        tensors[BIAS] = np.ones((32, 2), np.float32)
        for name in huggingface_names.EMBEDDING_COPIES:
            tensors[name] = tensors[SHARED].copy()

    change(v1_1, add)
    assert_same(read_all(HuggingFaceReader(v1_1)), before)
    change(v1_1, lambda tensors: tensors.pop(SHARED))
    assert_same(read_all(HuggingFaceReader(v1_1)), before)


QUERY = "encoder.block.1.layer.0.SelfAttention.q.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop(QUERY), rf"{QUERY} is missing, expected shape \(16, 16\)"),
        (
            lambda t: t.update({QUERY: np.ones((16, 8), np.float32)}),
            rf"{QUERY} has shape \(16, 8\), expected \(16, 16\)",
        ),
        (
            lambda t: t.update({"adapter.weight": np.ones(3, np.float32)}),
            r"adapter.weight \(3,\) is not expected",
        ),
        (
            lambda t: t.update({"encoder.embed_tokens.weight": t[SHARED] + 1}),
            "encoder.embed_tokens.weight .* differs from shared.weight",
        ),
        (lambda t: t.pop(SHARED), rf"{SHARED} is missing, expected shape \(48, 16\)"),
        (
            lambda t: t.update({LM_HEAD: np.ones((48, 8), np.float32)}),
            rf"{LM_HEAD} has shape \(48, 8\), expected \(48, 16\)",
        ),
    ],
)
@pytest.mark.slow
def test_error_names_the_wrong_tensor(v1_1, edit, message):
    change(v1_1, edit)
    with pytest.raises(UserError, match=message):
        HuggingFaceReader(v1_1)


@pytest.mark.parametrize(("stored", "size"), [("I32", 4), ("F8_E4M3", 1)])
def test_a_tensor_of_another_type_is_an_error(v1_1, stored, size):
    path = v1_1 / "model.safetensors"
    array = np.ones((16, 16), f"int{8 * size}")
    change(v1_1, lambda tensors: tensors.update({QUERY: array}))
    path.write_bytes(retyped(path.read_bytes(), stored))
    reader = HuggingFaceReader(v1_1)
    message = f"safetensors: tensor {QUERY} has type {stored}, expected one of F64, F32"
    with pytest.raises(UserError, match=message):
        reader.read("encoder/layers_1/attention/query/kernel")


def retyped(content, stored):
    """Changes the type of `QUERY` in the header of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header[QUERY]["dtype"] = stored
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "bart"}, "config.json: model_type is 'bart', expected 't5'"),
        ({"num_layers": 3}, "encoder.block.2.* is missing"),
        ({"num_layers": 1}, "encoder.block.1.* is not expected"),
        ({"d_model": "wide"}, "config.json: d_model is 'wide', expected"),
    ],
)
def test_config_that_does_not_fit_the_tensors_is_an_error(v1_1, values, message):
    change_config(v1_1, **values)
    with pytest.raises(UserError, match=message):
        HuggingFaceReader(v1_1)


@pytest.mark.parametrize("kept", [0, 7, 4000])
@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("model.safetensors", save_file, "expected a complete safetensors file"),
        ("flax_model.msgpack", save_msgpack, "expected a complete msgpack file"),
        (
            "pytorch_model.bin",
            save_torch,
            "expected a complete file",
        ),
    ],
)
@pytest.mark.slow
def test_error_names_the_incomplete_file(v1_1, name, save, message, kept):
    tensors = load_file(v1_1 / "model.safetensors")
    (v1_1 / "model.safetensors").unlink()
    save(tensors, v1_1 / name)
    content = (v1_1 / name).read_bytes()
    (v1_1 / name).write_bytes(content[:kept])
    with pytest.raises(UserError, match=f"{name}: {message}"):
        HuggingFaceReader(v1_1)


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_executed(v1_1, tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="needs the extra `hf`")
    mark = tmp_path / "executed"
    (v1_1 / "model.safetensors").unlink()
    if zipped:
        torch.save({"a": Malice(mark)}, v1_1 / "pytorch_model.bin")
    else:
        (v1_1 / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Malice(mark)}))
    with pytest.raises(UserError, match="model.bin: expected a complete file"):
        HuggingFaceReader(v1_1)
    assert not mark.exists()


def test_torch_file_without_a_state_dict_is_an_error(v1_1):
    torch = pytest.importorskip("torch", reason="needs the extra `hf`")
    (v1_1 / "model.safetensors").unlink()
    path = v1_1 / "pytorch_model.bin"
    torch.save([torch.ones(3)], path)
    with pytest.raises(UserError, match="holds a list, expected a state dict"):
        HuggingFaceReader(v1_1)
    torch.save({"shared.weight": {"a": torch.ones(3)}}, path)
    with pytest.raises(UserError, match="shared.weight is a dict, expected a tensor"):
        HuggingFaceReader(v1_1)
    torch.save({"shared.weight": torch.eye(3).to_sparse()}, path)
    with pytest.raises(UserError, match="shared.weight is a sparse or quantized"):
        HuggingFaceReader(v1_1)


def test_msgpack_file_without_arrays_is_an_error(v1_1):
    (v1_1 / "model.safetensors").unlink()
    content = serialization.msgpack_serialize({"shared": {"embedding": "text"}})
    (v1_1 / "flax_model.msgpack").write_bytes(content)
    with pytest.raises(UserError, match="shared.embedding is a str, expected an array"):
        HuggingFaceReader(v1_1)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("../outside.safetensors", "is not the name of a file in the folder"),
        ("/etc/passwd", "is not the name of a file in the folder"),
        ("..", "the file '..' is missing"),
        ("absent.safetensors", "the file 'absent.safetensors' is missing; download"),
        (7, "weight_map.* must be text, found integer"),
    ],
)
def test_index_cannot_name_files_outside_its_folder(v1_1, part, message):
    (v1_1 / "model.safetensors").rename(v1_1.parent / "outside.safetensors")
    index = v1_1 / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {SHARED: part}}))
    with pytest.raises(UserError, match=message):
        HuggingFaceReader(v1_1)


FIRST, SECOND = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
# The tensors are in the two files by turns, in the order of their names.
IN_SECOND = "decoder.block.0.layer.0.SelfAttention.o.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda t: t.update({QUERY: np.ones((16, 16), np.float32)}),
            f"{SECOND}: tensor {QUERY} is also in {FIRST}, expected each tensor in one",
        ),
        (
            lambda t: t.pop(IN_SECOND),
            f"{IN_SECOND} is missing, .*; the index has it in {SECOND}",
        ),
        (
            lambda t: t.update({IN_SECOND: np.ones((8, 16), np.float32)}),
            rf"{SECOND}: tensor {IN_SECOND} has shape \(8, 16\), expected \(16, 16\)",
        ),
        (
            lambda t: t.update({IN_SECOND: np.ones((16, 16), np.int32)}),
            f"{SECOND}: tensor {IN_SECOND} has type I32, expected one of F64",
        ),
        (
            lambda t: t.update({"adapter.weight": np.ones(3, np.float32)}),
            rf"{SECOND}: tensor adapter.weight \(3,\) is not expected",
        ),
    ],
)
def test_error_names_the_wrong_shard(v1_1, edit, message):
    shard(v1_1, "model.safetensors", save_file)
    tensors = load_file(v1_1 / SECOND)
    edit(tensors)
    save_file(tensors, v1_1 / SECOND)
    with pytest.raises(UserError, match=message):
        read_all(HuggingFaceReader(v1_1))


def test_a_shard_of_another_precision_is_converted(v1_1):
    """Transformers stores some tensors of a half-precision model in float32."""
    exact = read_all(HuggingFaceReader(v1_1))
    shard(v1_1, "model.safetensors", save_file)
    halves = {n: a.astype(np.float16) for n, a in load_file(v1_1 / SECOND).items()}
    save_file(halves, v1_1 / SECOND)
    mixed = read_all(HuggingFaceReader(v1_1))
    differ = {name for name, array in exact.items() if (mixed[name] != array).any()}
    assert 0 < len(differ) < len(exact)
    for name, array in exact.items():
        np.testing.assert_allclose(mixed[name], array, atol=2**-10)


def test_an_empty_index_is_an_error(v1_1):
    (v1_1 / "model.safetensors").unlink()
    (v1_1 / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(UserError, match="index.json: weight_map is empty, expected"):
        HuggingFaceReader(v1_1)


@pytest.mark.parametrize("content", ["[]", "{", "\xff"])
def test_invalid_config_file_is_an_error(v1_1, content):
    (v1_1 / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="config.json: "):
        HuggingFaceReader(v1_1)


def test_folder_without_weights_is_an_error(v1_1):
    (v1_1 / "model.safetensors").unlink()
    with pytest.raises(UserError, match="expected model.safetensors, .*found none"):
        HuggingFaceReader(v1_1)


@pytest.fixture
def hub_cache(v1_1, tmp_path, monkeypatch):
    """A local cache of the hub with the model someone/model, and no network."""
    snapshot = tmp_path / "hub/models--someone--model/snapshots/abc"
    snapshot.parent.mkdir(parents=True)
    v1_1.rename(snapshot)
    refs = tmp_path / "hub/models--someone--model/refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def test_model_is_read_from_the_cache_of_the_hub(hub_cache):
    expected = read_all(HuggingFaceReader(hub_cache))
    reader = weights.open_checkpoint("hub:someone/model")
    assert reader.location == "hub:someone/model"
    assert_same(read_all(reader), expected)


def test_model_that_cannot_be_downloaded_is_an_error(hub_cache):
    with pytest.raises(UserError, match="hub:someone/other: cannot be downloaded"):
        weights.open_checkpoint("hub:someone/other")
    with pytest.raises(UserError, match="hub:no/such/id: cannot be downloaded"):
        weights.open_checkpoint("hub:no/such/id")
