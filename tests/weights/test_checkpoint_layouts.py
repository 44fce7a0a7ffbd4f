"""Each layout of a checkpoint is read, and written from another one."""

import json
import re
import tracemalloc

import numpy as np
import pytest
from etils import epath
from flax import traverse_util

from dsbs_jax import weights
from dsbs_jax.errors import UserError
from dsbs_jax.local import checkpoints
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import convert, huggingface_reader, orbax_format, t5x_native
from dsbs_jax.weights.run_checkpoints import Overlay
from support.students import NETWORKS, random_parameters

# The bytes of ByT5 need no vocabulary file.
ROWS = 384
SHARD_BYTES = 30_000


def make_config(network, **changes):
    """Encoder and decoder, and width and heads, have different sizes."""
    sizes = {
        "vocab_size": ROWS,
        "emb_dim": 16,
        "num_heads": 3,
        "head_dim": 5,
        "num_encoder_layers": 2,
        "num_decoder_layers": 3,
        "mlp_dim": 24,
    }
    return T5Config(**{**sizes, **NETWORKS[network], **changes})


def stacked(params, config):
    """The layout of T5X's scalable network, written down a second time.

    A bias that all layers share remains outside of the layers.
    """
    heads = (config.num_heads, config.head_dim)
    layers = {}
    for name, array in params.items():
        match = re.fullmatch(r"(encoder|decoder)/layers_(\d+)/(.*)", name)
        if not match:
            layers[name] = array
            continue
        if match[3].endswith(("query/kernel", "key/kernel", "value/kernel")):
            array = array.reshape(config.emb_dim, *heads)
        elif match[3].endswith("out/kernel"):
            array = array.reshape(*heads, config.emb_dim)
        name = f"{match[1]}/{match[1]}/{match[3]}"
        layers.setdefault(name, {})[int(match[2])] = array
    return {
        name: np.stack([value[i] for i in range(len(value))], axis=1)
        if isinstance(value, dict)
        else value
        for name, value in layers.items()
    }


def write_run(folder, params, config):
    """Writes weights as a run of this project does."""
    tree = traverse_util.unflatten_dict(params, sep="/")
    checkpoints.write_base(folder, tree, Overlay(scale=1.0))
    return folder / "base/checkpoint_0"


def write_huggingface(shard_bytes):
    def write(folder, params, config):
        huggingface_reader.write_model(folder, params, config, shard_bytes)
        return folder

    return write


def write_t5x(write_checkpoint, layout=lambda params, config: params):
    def write(folder, params, config):
        write_checkpoint(epath.Path(folder / "checkpoint_0"), layout(params, config))
        return folder

    return write


SOURCES = {
    "run": write_run,
    "native": write_t5x(t5x_native.write_checkpoint),
    "native stacked": write_t5x(t5x_native.write_checkpoint, stacked),
    "orbax": write_t5x(orbax_format.write_checkpoint),
    "orbax stacked": write_t5x(orbax_format.write_checkpoint, stacked),
    "hf": write_huggingface(huggingface_reader.SHARD_BYTES),
    "hf shards": write_huggingface(SHARD_BYTES),
}
TARGETS = {
    "native": {"format": "t5x"},
    "native stacked": {"format": "t5x", "scan_layers": True},
    "orbax": {"format": "t5x_orbax"},
    "orbax stacked": {"format": "t5x_orbax", "scan_layers": True},
    "hf": {"format": "hf", "vocabulary_path": "bytes"},
    "hf shards": {"format": "hf", "vocabulary_path": "bytes", "shard_megabytes": 1},
}
# Each network has each source and each target, in other pairs than the next network.
PAIRS = [
    (network, source, list(TARGETS)[(number + shift) % len(TARGETS)])
    for shift, network in enumerate(NETWORKS)
    for number, source in enumerate(SOURCES)
]


def assert_same(reader, expected):
    assert set(reader.shapes()) == set(expected)
    for name, array in expected.items():
        assert reader.shapes()[name] == array.shape
        values = reader.read(name)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, array, err_msg=name)


def with_bias_in_layers(params, config):
    """Repeats the bias that the layers of each stack share, for every layer."""
    repeated = dict(params)
    for stack in ("encoder", "decoder"):
        bias = repeated.pop(f"{stack}/relpos_bias/rel_embedding")
        for layer in range(getattr(config, f"num_{stack}_layers")):
            repeated[f"{stack}/layers_{layer}/relpos_bias/rel_embedding"] = bias
    return repeated


@pytest.mark.parametrize(("network", "source", "target"), PAIRS)
def test_every_layout_is_read_and_written(
    network, source, target, tmp_path, monkeypatch
):
    monkeypatch.setattr(convert, "_MEGABYTE", SHARD_BYTES)
    config = make_config(network)
    params = random_parameters(config)
    (tmp_path / "source").mkdir()
    path = SOURCES[source](tmp_path / "source", params, config)
    reader = weights.open_checkpoint(str(path))
    assert weights.config_of(reader) == config
    assert_same(reader, params)

    settings = TARGETS[target]
    # T5X reads checkpoints that are named by a step.
    output = tmp_path / "target/checkpoint_0"
    convert.convert(
        convert.ConvertConfig(
            checkpoint_path=str(path), output_dir=str(output), **settings
        )
    )
    if settings.get("scan_layers") and not config.relative_bias_in_layers:
        params = with_bias_in_layers(params, config)
    assert_same(weights.open_checkpoint(str(output)), params)
    index = output / "model.safetensors.index.json"
    assert index.exists() == (target == "hf shards")
    if index.exists():
        check_index(index)


def check_index(path):
    index = json.loads(path.read_text())
    files = sorted(path.parent.glob("*.safetensors"))
    assert len(files) > 2
    assert {file.name for file in files} == set(index["weight_map"].values())
    # The header of each file comes on top.
    sizes = [file.stat().st_size for file in files]
    assert max(sizes) < SHARD_BYTES + 10_000
    assert 0 < sum(sizes) - index["metadata"]["total_size"] < 10_000 * len(files)


@pytest.mark.parametrize("source", ["native stacked", "orbax stacked"])
@pytest.mark.parametrize(
    "index",
    [
        (slice(4, 11), slice(0, 3)),
        (slice(0, 5), slice(5, 15)),
        (slice(None), slice(7, 9)),
        (slice(5, 15), slice(None)),
    ],
)
def test_a_part_of_a_stacked_kernel_is_read(source, index, tmp_path):
    """A device's part may begin or end within a head."""
    config = make_config("umt5")
    params = random_parameters(config)
    SOURCES[source](tmp_path, params, config)
    reader = weights.open_checkpoint(str(tmp_path))
    for name, array in params.items():
        if name.endswith("kernel"):
            part = reader.read(name, index)
            np.testing.assert_array_equal(part, array[index], err_msg=name)


def test_stacks_of_different_depths_are_an_error(tmp_path):
    config = make_config("umt5")
    params = stacked(random_parameters(config), config)
    name = "encoder/encoder/mlp/wo/kernel"
    params[name] = params[name].swapaxes(0, 1)
    t5x_native.write_checkpoint(epath.Path(tmp_path / "checkpoint_0"), params)
    with pytest.raises(UserError, match=rf"{name} has shape \(2, 24, 16\), expected 2"):
        weights.open_checkpoint(str(tmp_path))


def test_hugging_face_has_no_stacked_layers():
    with pytest.raises(UserError, match="SCAN_LAYERS is True, expected False with"):
        convert.ConvertConfig(checkpoint_path="a", output_dir="b", scan_layers=True)


def test_a_checkpoint_without_a_parameter_is_not_converted(tmp_path):
    params = random_parameters(make_config("t5_1_1"))
    del params["decoder/layers_1/mlp/wi_1/kernel"]
    t5x_native.write_checkpoint(epath.Path(tmp_path / "checkpoint_0"), params)
    config = convert.ConvertConfig(
        checkpoint_path=str(tmp_path), output_dir=str(tmp_path / "new"), format="t5x"
    )
    with pytest.raises(UserError, match="layers_1/mlp/wi_1/kernel has shape none"):
        convert.convert(config)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["native stacked", "orbax", "hf shards"])
def test_conversion_holds_a_part_of_the_weights(target, tmp_path):
    """At most one file, or all layers of one parameter, is in memory."""
    config = make_config(
        "umt5", emb_dim=128, mlp_dim=2048, num_encoder_layers=4, num_decoder_layers=4
    )
    params = random_parameters(config)
    total = sum(array.nbytes for array in params.values())
    (tmp_path / "source").mkdir()
    SOURCES["hf shards"](tmp_path / "source", params, config)
    del params
    settings = convert.ConvertConfig(
        checkpoint_path=str(tmp_path / "source"),
        output_dir=str(tmp_path / "target/checkpoint_0"),
        **TARGETS[target],
    )
    tracemalloc.start()
    try:
        convert.convert(settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The four layers of a kernel are 17 % of the weights. Python's objects are up to
    # another 20 %, most of them in a process that loads its modules.
    assert peak < 0.5 * total
