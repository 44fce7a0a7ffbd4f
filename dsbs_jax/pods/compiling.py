"""T5X's training step, lowered for devices that this machine need not have."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax.sharding import Mesh
from t5x import partitioning, utils
from t5x.examples.scalable_t5 import network as scalable_network
from t5x.examples.t5 import network

from dsbs_jax.errors import UserError
from dsbs_jax.pods import models, optimizers, run_settings
from dsbs_jax.pods.trainer import Trainer
from dsbs_jax.student.config import SIZE_FIELDS, T5Config

Schedule = Callable[[Any], Any]
# T5X's names of what the backward pass computes again; it cannot store on the host.
_REMAT_POLICIES = {"none": "none", "dots": "minimal", "full": "full"}


class DevicePartitioner(partitioning.PjitPartitioner):
    """T5X's partitioner over given devices; T5X's own takes those of this machine."""

    def __init__(
        self,
        devices: Sequence[jax.Device],
        num_partitions: int,
        parameter_partitioning_dims: int,
    ) -> None:
        """Creates the partitioner.

        Args:
            devices: The devices; neighbors share a copy of the student.
            num_partitions: Devices that share one copy.
            parameter_partitioning_dims: 2 also spreads the parameters over the copies.
        """
        rules = partitioning.standard_logical_axis_rules(
            parameter_partitioning_dims=parameter_partitioning_dims
        )
        super().__init__(num_partitions=num_partitions, logical_axis_rules=rules)
        self._grid = np.asarray(devices).reshape(-1, num_partitions)

    @property
    def mesh(self) -> Mesh:
        """Axes "data" and "model", in T5X's order."""
        return Mesh(self._grid, ("data", "model"))


def lower_train_step(
    student: T5Config,
    schedule: Schedule,
    batch: Mapping[str, jax.ShapeDtypeStruct],
    devices: Sequence[jax.Device],
    num_partitions: int,
    parameter_partitioning_dims: int,
    num_microbatches: int,
) -> jax.stages.Lowered:
    """Lowers the step that `t5x.train` runs with the files in gin/t5x.

    Args:
        student: The student. With `scan` its network is T5X's scalable one, as with
            t5x/scalable.gin.
        schedule: The learning rate of a step.
        batch: Features as `DistillationFeatureConverter` makes them, int32 [B, S] and
            [B, T].
        devices: The devices.
        num_partitions: Devices that share one copy of the student.
        parameter_partitioning_dims: 2 also spreads the parameters over the copies.
        num_microbatches: Parts of a batch that are computed one after another.

    Raises:
        UserError: The backward pass recomputes layers that are not scanned.
    """
    model = models.DistillationModel(
        module=_network(student),
        input_vocabulary=None,
        output_vocabulary=None,
        optimizer_def=optimizers.adamw(),
        alpha=0.5,
    )
    partitioner = DevicePartitioner(
        devices, num_partitions, parameter_partitioning_dims
    )
    trainer, state = make_trainer(model, schedule, partitioner, batch, num_microbatches)
    with contextlib.closing(trainer), _constraints_of_accelerators():
        return trainer._partitioned_train_step.lower(state, dict(batch))


def make_trainer(
    model: models.DistillationModel,
    schedule: Schedule,
    partitioner: partitioning.PjitPartitioner,
    batch: Mapping[str, jax.ShapeDtypeStruct],
    num_microbatches: int,
) -> tuple[Trainer, Any]:
    """Creates a trainer and the abstract train state, without creating weights.

    Args:
        model: The model.
        schedule: The learning rate of a step.
        partitioner: The mesh.
        batch: The shapes of a batch's features.
        num_microbatches: Parts of a batch that are computed one after another.
    """
    initializer = utils.TrainStateInitializer(
        model.optimizer_def,
        model.get_initial_variables,
        {name: leaf.shape for name, leaf in batch.items()},
        partitioner,
    )
    state = initializer.global_train_state_shape
    trainer = Trainer(
        model=model,
        train_state=state,
        partitioner=partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=initializer.train_state_axes,
        rng=jax.random.PRNGKey(0),
        learning_rate_fn=schedule,
        num_microbatches=num_microbatches,
    )
    return trainer, state


def _network(student: T5Config) -> Any:
    values = {name: getattr(student, name) for name in SIZE_FIELDS}
    if values.pop("relative_bias_in_layers") and not student.scan:
        raise UserError(
            "RELATIVE_BIAS_IN_LAYERS is True, expected False without SCAN_LAYERS: only "
            "T5X's network with scanned layers has a position bias in every layer"
        )
    if student.attention_queries is not None:
        raise UserError(
            f"ATTENTION_QUERIES is {student.attention_queries}, expected None: T5X's "
            "networks compute all queries of an attention together"
        )
    values["dropout_rate"] = student.dropout_rate
    values["dtype"] = run_settings.activation_dtype(student.precision)
    remat = _REMAT_POLICIES[student.remat_policy]
    if student.scan:
        return scalable_network.Transformer(
            scalable_network.T5Config(**values, scan_layers=True, remat_policy=remat)
        )
    if remat != "none":
        raise UserError(
            f"REMAT is {student.remat!r}, expected 'none' without SCAN_LAYERS: "
            "only T5X's network with scanned layers computes them again"
        )
    return network.Transformer(network.T5Config(**values))


@contextlib.contextmanager
def _constraints_of_accelerators() -> Iterator[None]:
    """Keeps T5X's constraints on the sharding of microbatches.

    T5X leaves them out if JAX's default device is a CPU, also from programs for other
    devices.
    """
    with mock.patch.object(
        partitioning, "with_sharding_constraint", jax.lax.with_sharding_constraint
    ):
        yield
