"""A data x model mesh over all local devices, and the shardings of arrays on it.

The mesh has two axes. Each position on "data" holds one copy of the student and gets
its own rows of the batch. The devices along "model" share one copy. With
`parameter_partitioning_dims=2` the copies also share the memory of the parameters and
of the optimizer state: a device along "data" holds a part of each, and gets the other
parts of a layer when it computes the layer, as in ZeRO stage 3 (arXiv 1910.02054),
also called FSDP.
"""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.linen import spmd
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dsbs_jax.errors import UserError
from dsbs_jax.local.config import TrainSettings

AxisRules = tuple[tuple[str, str | None], ...]

# Logical axis of a parameter or activation: mesh axis. These are T5X's standard rules.
_AXIS_RULES: AxisRules = (
    ("batch", "data"),
    # Each of these names one axis of a layer's matrices: the output of the first matrix
    # and the input of the second. Splitting that axis over "model" needs a single sum
    # over devices for each of its blocks (Megatron-LM, arXiv 1909.08053).
    ("vocab", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("joined_kv", "model"),
    # These axes are short, so they are not split.
    ("kv", None),
    ("length", None),
    ("relpos_buckets", None),
)
# "embed" is the other axis of the same matrices. The activations of a layer have it
# too, but their "batch" axis already takes "data", and no array uses a mesh axis twice.
_EMBED_RULES: dict[int, tuple[str, str | None]] = {
    1: ("embed", None),
    2: ("embed", "data"),
}


class Partitioner:
    """Places arrays on the local devices.

    Attributes:
        mesh: Axes "data" and "model".
        replicated: Sharding of an array that every device holds.
        batch: Sharding of a batch, its rows spread over the data axis.
        axis_rules: Logical axis and mesh axis of parameters and activations.
    """

    def __init__(
        self,
        num_partitions: int = 1,
        devices: list[jax.Device] | None = None,
        parameter_partitioning_dims: Literal[1, 2] = 1,
    ) -> None:
        """Creates the mesh.

        Args:
            num_partitions: Devices that share one copy of the student.
            devices: The devices; None takes all local ones.
            parameter_partitioning_dims: 1 stores the parameters in each copy; 2 also
                spreads them over the copies.

        Raises:
            UserError: The number of devices is not a multiple of `num_partitions`.
        """
        devices = devices or jax.local_devices()
        if num_partitions < 1 or len(devices) % num_partitions:
            raise UserError(
                f"NUM_PARTITIONS is {num_partitions}, expected a divisor of the "
                f"number of devices, {len(devices)}"
            )
        # Neighboring devices, which usually have the fastest connection, share a copy.
        grid = np.asarray(devices).reshape(-1, num_partitions)
        self.mesh = Mesh(grid, ("data", "model"))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.batch = NamedSharding(self.mesh, PartitionSpec("data"))
        self.axis_rules = (*_AXIS_RULES, _EMBED_RULES[parameter_partitioning_dims])

    @property
    def data_size(self) -> int:
        """Number of copies of the student, over which a batch is spread."""
        return self.mesh.shape["data"]

    def parameters(self, boxed: Any) -> Any:
        """Returns the shardings of parameters.

        Args:
            boxed: Parameters boxed with flax's logical axis names.

        Raises:
            UserError: The devices do not divide an axis of a parameter.
        """
        specs = nn.get_partition_spec(boxed)
        shardings = spmd.logical_to_mesh_sharding(
            specs, self.mesh, list(self.axis_rules)
        )
        jax.tree_util.tree_map_with_path(_check_divides, nn.unbox(boxed), shardings)
        return shardings

    def optimizer_state(
        self,
        optimizer: optax.GradientTransformation,
        state: Any,
        params: Any,
        shardings: Any,
    ) -> Any:
        """Returns the shardings of an optimizer's state.

        An array with the shape of its parameter is sharded like the parameter. Others
        are replicated: counts, and Adafactor's factored moments, which are small.

        Args:
            optimizer: The optimizer.
            state: Its state, real or abstract.
            params: The parameters, real or abstract.
            shardings: Their shardings.
        """
        return optax.tree_map_params(
            optimizer,
            lambda leaf, param, sharding: (
                sharding if leaf.shape == param.shape else self.replicated
            ),
            state,
            params,
            shardings,
            transform_non_params=lambda _: self.replicated,
        )

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Sends a batch to the devices, its rows spread over the data axis."""
        return jax.device_put(dict(batch), self.batch)


def of_run(config: TrainSettings) -> Partitioner:
    """Returns the mesh of a run, over all local devices.

    Raises:
        UserError: The devices cannot be grouped as the settings say.
    """
    return Partitioner(
        config.partitioning.num_partitions,
        parameter_partitioning_dims=config.loop.parameter_partitioning_dims,
    )


def _check_divides(path: Any, leaf: Any, sharding: NamedSharding) -> None:
    """Raises if devices cannot hold parts of equal shape of a parameter."""
    for size, axis in zip(leaf.shape, sharding.spec, strict=False):
        devices = sharding.mesh.shape[axis] if axis else 1
        if size % devices:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            change = (
                "another value of NUM_PARTITIONS"
                if axis == "model"
                else "PARAMETER_PARTITIONING_DIMS=1, or another value of NUM_PARTITIONS"
            )
            raise UserError(
                f"parameter {name} has the shape {leaf.shape}, whose axis of {size} "
                f"cannot be split into {devices} equal parts; set {change}"
            )
