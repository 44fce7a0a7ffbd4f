"""A data × model mesh over all local devices, and where arrays stand on it."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dsbs_jax.errors import UserError

# Logical axes of the student's parameters and activations to mesh axes; T5X's
# standard rules with two-dimensional parameter sharding left out.
LOGICAL_AXIS_RULES = (
    ("batch", "data"),
    ("vocab", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("joined_kv", "model"),
    ("kv", None),
    ("embed", None),
    ("length", None),
    ("relpos_buckets", None),
)


class Partitioner:
    """Lays arrays out over the local devices.

    Attributes:
        mesh: Axes "data" and "model".
    """

    def __init__(
        self, num_partitions: int = 1, devices: list[jax.Device] | None = None
    ) -> None:
        """Makes the mesh.

        Args:
            num_partitions: Devices that a copy of the student is spread over.
            devices: All local ones where None.

        Raises:
            UserError: The devices do not divide by `num_partitions`.
        """
        devices = devices or jax.local_devices()
        if num_partitions < 1 or len(devices) % num_partitions:
            raise UserError(
                f"NUM_PARTITIONS is {num_partitions}, expected a divisor of the "
                f"{len(devices)} devices"
            )
        grid = np.asarray(devices).reshape(-1, num_partitions)
        self.mesh = Mesh(grid, ("data", "model"))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.batch = NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def data_size(self) -> int:
        """Copies of the student, over which a batch is spread."""
        return self.mesh.shape["data"]

    def parameters(self, boxed: Any) -> Any:
        """Shardings of parameters that carry flax's logical axis names."""
        specs = nn.get_partition_spec(boxed)
        return nn.logical_to_mesh_sharding(specs, self.mesh, list(LOGICAL_AXIS_RULES))

    def optimizer_state(
        self,
        optimizer: optax.GradientTransformation,
        state: Any,
        params: Any,
        shardings: Any,
    ) -> Any:
        """Shardings of an optimiser's state: like its parameter, where shaped like it.

        Adafactor's factored moments have another shape; they are small and replicated.
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

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Sends a batch to the devices, its rows spread over the data axis."""
        return jax.device_put(batch, self.batch)
