import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local import partitioning, state
from dsbs_jax.local.config import TrainSettings
from dsbs_jax.local.partitioning import Partitioner

# Runs in its own process, because JAX's number of devices is fixed when it starts.
MESHES = """
import json, pathlib, sys
import jax, numpy as np
from flax import traverse_util
from dsbs_jax.errors import UserError
from dsbs_jax.local import optimizers, state, step
from dsbs_jax.local.config import OptimizerConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import cross_entropy, stacked_layers
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights.loading import load_params
from dsbs_jax.weights.overlay import Arrays

def read_again(params, abstract):
    # Reads the parameters as from a checkpoint of separate layers. Returns whether they
    # are equal, and the largest part of a kernel [16, 32] that is read at a time.
    layers = jax.tree.map(np.asarray, stacked_layers.unstack(params))
    reader = Arrays("here", traverse_util.flatten_dict(layers, sep="/"))
    read, shapes = reader.read, []
    def recorded(name, index):
        part = read(name, index)
        if name.endswith("wi_0/kernel"):
            shapes.append(part.shape)
        return part
    reader.read = recorded
    loaded = load_params(reader, abstract)
    pairs = zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs), max(shapes)

# Small enough for several parts of the logits on each mesh.
cross_entropy.LOGIT_BYTES = 2**10
batches = np.load(sys.argv[1])
names = sorted({name.split("/")[1] for name in batches})
results = {"devices": jax.device_count()}
for dropout, precision in ((0.0, "float32"), (0.1, "float32"), (0.0, "mixed")):
    # The copies share parameters in one case only: compilation takes seconds each time.
    more = [(4, 1, 2, False), (2, 2, 2, False), (2, 2, 1, True), (2, 2, 2, True)]
    meshes = [(1, 1, 1, False), (4, 1, 1, False), (2, 2, 1, False), (1, 4, 1, False)]
    if (dropout, precision) == (0.0, "float32"):
        meshes += more
    for data, model_parallel, dims, scan in meshes:
        model = Transformer(
            T5Config(
                vocab_size=32,
                emb_dim=16,
                num_heads=4,
                head_dim=4,
                num_encoder_layers=3,
                num_decoder_layers=1,
                mlp_dim=32,
                mlp_activations=("gelu", "linear"),
                logits_via_embedding=False,
                dropout_rate=dropout,
                precision=precision,
                scan=scan,
            )
        )
        devices = jax.devices()[: data * model_parallel]
        partitioner = Partitioner(model_parallel, devices, dims)
        config = OptimizerConfig(learning_rate=1e-2)
        schedule = optimizers.make_schedule(config, 10)
        optimizer = optimizers.make_optimizer(config, schedule)
        abstract = state.abstract_state(model, optimizer, partitioner)
        key = jax.random.key(0)
        now = state.init_state(model, optimizer, abstract, key)
        run = step.make_train_step(model, optimizer, partitioner, 0.5)
        losses = []
        for i in range(5):
            batch = {name: batches[f"{i}/{name}"] for name in names}
            now, metrics = run(now, partitioner.put_batch(batch), key)
            losses.append(float(metrics["loss"]))
        layers = "layers" if scan else "layers_0"
        mlp = now.params["encoder"][layers]["mlp"]["wi_0"]["kernel"]
        moment = [
            leaf for leaf in jax.tree.leaves(now.opt_state) if leaf.shape == mlp.shape
        ][0]
        mesh = f"{data}x{model_parallel}x{dims}" + ("xscan" if scan else "")
        results[f"{mesh}/{dropout}/{precision}"] = {
            "losses": losses,
            "mlp_shard": mlp.addressable_shards[0].data.shape,
            "moment_shard": moment.addressable_shards[0].data.shape,
            "as_planned": all(
                leaf.sharding.is_equivalent_to(planned.sharding, leaf.ndim)
                for leaf, planned in zip(
                    jax.tree.leaves(now), jax.tree.leaves(abstract), strict=True
                )
            ),
            "read_again": read_again(now.params, abstract.params),
            "norm": float(sum((p**2).sum() for p in jax.tree.leaves(now.params))),
        }
for partitions, dims in ((3, 1), (1, 2)):
    try:
        state.abstract_params(model, Partitioner(partitions, jax.devices()[:3], dims))
    except UserError as error:
        results[f"3 devices, {partitions} partitions"] = str(error)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def on_meshes(make_batch, tmp_path_factory):
    path = tmp_path_factory.mktemp("meshes") / "batches.npz"
    batches = {
        f"{i}/{name}": value
        for i in range(5)
        for name, value in make_batch(seed=i).items()
    }
    np.savez(path, **batches)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # Each of the compiled programs runs only five small steps.
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 "
        "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", MESHES, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
# The sums of products are rounded in another order, which mixed precision rounds again.
@pytest.mark.parametrize(
    ("case", "difference"),
    [("0.0/float32", 1e-5), ("0.1/float32", 1e-5), ("0.0/mixed", 2e-3)],
)
def test_meshes_give_the_same_losses(on_meshes, case, difference):
    assert on_meshes["devices"] == 8
    expected = on_meshes[f"1x1x1/{case}"]
    assert len(set(expected["losses"])) == 5
    meshes = [name for name in on_meshes if name.endswith(case)]
    assert len(meshes) == (8 if case == "0.0/float32" else 4)
    for mesh in meshes:
        actual = on_meshes[mesh]
        np.testing.assert_allclose(
            actual["losses"], expected["losses"], rtol=0, atol=difference, err_msg=mesh
        )
        np.testing.assert_allclose(actual["norm"], expected["norm"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "shard"),
    [
        # A kernel of 16 x 32: "embed" x "mlp".
        ("4x1x1", [16, 32]),
        ("2x2x1", [16, 16]),
        ("1x4x1", [16, 8]),
        ("4x1x2", [4, 32]),
        ("2x2x2", [8, 16]),
        # All layers of the encoder are in one array, [3, 16, 32].
        ("2x2x1xscan", [3, 16, 16]),
        ("2x2x2xscan", [3, 8, 16]),
    ],
)
def test_parameters_and_moments_are_spread_over_the_mesh(on_meshes, mesh, shard):
    results = on_meshes[f"{mesh}/0.0/float32"]
    assert results["mlp_shard"] == results["moment_shard"] == shard
    # The updates of the steps have kept the shardings of all arrays.
    assert results["as_planned"]
    # A checkpoint is read in the parts that the devices hold.
    assert results["read_again"] == [True, shard[-2:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_partitions", "message"),
    [
        (3, "into 3 equal parts; set another value of NUM_PARTITIONS"),
        (1, "into 3 equal parts; set PARAMETER_PARTITIONING_DIMS=1, or another value"),
    ],
)
def test_parameters_that_devices_do_not_divide_are_an_error(
    on_meshes, num_partitions, message
):
    error = on_meshes[f"3 devices, {num_partitions} partitions"]
    assert message in error
    assert re.match(
        r"parameter \S+ has the shape \(\d+.*\), whose axis of \d+ c", error
    )


@pytest.mark.slow
def test_dropout_changes_the_losses(on_meshes):
    assert (
        on_meshes["1x1x1/0.0/float32"]["losses"]
        != on_meshes["1x1x1/0.1/float32"]["losses"]
    )


@pytest.mark.parametrize("num_partitions", [0, -1, 3])
def test_number_of_devices_has_to_be_a_multiple(num_partitions):
    devices = jax.local_devices()[:1]
    with pytest.raises(
        UserError, match="expected a divisor of the number of devices, 1"
    ):
        Partitioner(num_partitions, devices)


@pytest.mark.parametrize(("dims", "axis"), [(1, None), (2, "data")])
def test_the_mesh_of_a_run_has_the_rules_of_its_settings(dims, axis):
    config = TrainSettings.from_macros(
        {
            "MODEL_DIR": "x",
            "ALPHA": 0.5,
            "BATCH_SIZE": 16,
            "DATASET": "own",
            "METHOD": "finetune",
            "PARAMETER_PARTITIONING_DIMS": dims,
        }
    )
    assert dict(partitioning.of_run(config).axis_rules)["embed"] == axis


@pytest.mark.parametrize("make", [optax.adam, optax.adafactor])
def test_optimizer_state_is_sharded_like_its_parameter(make_model, make):
    partitioner = Partitioner(1, jax.local_devices()[:1])
    abstract = state.abstract_state(make_model(), make(0.1), partitioner)
    # All arrays are on the mesh, also scalars.
    for leaf in jax.tree.leaves(abstract):
        assert leaf.sharding.mesh == partitioner.mesh
    mlp = abstract.params["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
    assert mlp.sharding.spec == jax.sharding.PartitionSpec(None, "model")


def test_rows_of_a_batch_are_spread_over_the_data_axis():
    partitioner = Partitioner(1, jax.local_devices()[:1])
    put = partitioner.put_batch({"a": np.arange(6).reshape(3, 2)})
    assert put["a"].sharding == partitioner.batch
    assert partitioner.batch.spec == jax.sharding.PartitionSpec("data")
    assert partitioner.data_size == 1
    np.testing.assert_array_equal(put["a"], jnp.arange(6).reshape(3, 2))
