"""Compiles an engine's programs for a TPU slice, without a TPU.

libtpu contains the compiler and needs no device. It describes a slice, the real step is
lowered for the slice's devices, and nothing is allocated.
"""

import dataclasses
import importlib.util
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from jax.experimental import topologies

from dsbs_jax.errors import UserError
from dsbs_jax.local import optimizers, state, step
from dsbs_jax.local.config import OptimizerConfig, TrainableConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.state import TrainState
from dsbs_jax.planning import environment, hlo
from dsbs_jax.planning.chips import Slice
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.settings import from_values, settings_of
from dsbs_jax.student import decoding, operations, precision, sizes
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer

_TARGET_FEATURES = (
    "decoder_input_tokens",
    "decoder_target_tokens",
    "decoder_task_ids",
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled program, or why it does not fit.

    Attributes:
        needed: Bytes of main memory that it needs on a chip at least, if it does not
            fit.
        arguments: Bytes of its arguments on a chip.
        temporary: Bytes of its temporary memory on a chip.
        peak: Most bytes in use at a time on a chip.
        reused: Bytes of the results that take the memory of arguments.
        program: The program; None if it does not fit.
        seconds: Processor time of the compilation.
    """

    needed: int | None
    arguments: int
    temporary: int
    peak: int
    reused: int
    program: hlo.Program | None
    seconds: float


def devices_of(topology: Slice) -> list[jax.Device]:
    """Returns the devices of a slice, for which programs can be compiled.

    Raises:
        UserError: libtpu is not installed, or does not know the slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "libtpu, the compiler for TPUs, is not installed; create an environment "
            "for plans and install the extra `tpu` in it: pip install -e '.[tpu]'"
        )
    environment.prepare()
    try:
        described = topologies.get_topology_desc(
            platform="tpu", topology_name=topology.name, **topology.compiler_options()
        )
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"TOPOLOGY is {topology.name!r}, which libtpu does not accept: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return list(described.devices)


def model_of(config: PlanConfig) -> Transformer:
    """Returns the student of a plan."""
    values = {
        **sizes.size_of(config.size),
        "VOCAB_SIZE": operations.PUBLISHED_ROWS,
        "PRECISION": config.precision,
        "REMAT": config.remat,
        "ATTENTION_QUERIES": config.attention_queries,
        "SCAN_LAYERS": config.scan_layers,
    }
    return Transformer(from_values(T5Config, values))


def optimizer_of(config: PlanConfig) -> OptimizerConfig:
    """Returns the optimizer of a plan."""
    return from_values(OptimizerConfig, {"OPTIMIZER": config.optimizer})


def trainable_of(config: PlanConfig) -> TrainableConfig:
    """Returns the weights that the run of a plan updates."""
    values = {
        info.macro: getattr(config, info.field)
        for info in settings_of(TrainableConfig)
        # A factor, which changes no shape and no operation.
        if info.field != "lora_alpha"
    }
    return from_values(TrainableConfig, values)


def abstract_state(config: PlanConfig, devices: list[jax.Device]) -> TrainState:
    """Returns shapes, dtypes and shardings of the local engine's state.

    Raises:
        UserError: The student lacks layers or products that the run updates.
    """
    return state.abstract_state(
        model_of(config),
        _optimizer(config),
        partitioner_of(config, devices),
        trainable_of(config),
    )


def partitioner_of(config: PlanConfig, devices: list[jax.Device]) -> Partitioner:
    """Returns the mesh of a plan."""
    return Partitioner(
        config.num_partitions, devices, config.parameter_partitioning_dims
    )


def _optimizer(config: PlanConfig) -> optax.GradientTransformation:
    return optimizers.make_optimizer(optimizer_of(config), _schedule(config))


def train_step(config: PlanConfig, devices: list[jax.Device]) -> Compiled:
    """Compiles the training step of the run's engine, with its optimizer.

    Raises:
        UserError: The engine is T5X, which is not installed.
    """
    if config.engine == "t5x":
        return _compile(lambda: _lower_t5x(config, devices))
    return _compile(lambda: _lower_local(config, devices))


def _lower_local(config: PlanConfig, devices: list[jax.Device]) -> jax.stages.Lowered:
    model = model_of(config)
    partitioner = partitioner_of(config, devices)
    function: Any = step.make_train_step(
        model, _optimizer(config), partitioner, 0.5, config.num_microbatches
    )
    batch = _batch(config, _TARGET_FEATURES, sharding=partitioner.batch)
    key = jax.eval_shape(lambda: jax.random.key(0))
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=partitioner.replicated)
    return function.lower(abstract_state(config, devices), batch, key)


def _lower_t5x(config: PlanConfig, devices: list[jax.Device]) -> jax.stages.Lowered:
    # T5X is optional.
    from dsbs_jax.pods import compiling

    return compiling.lower_train_step(
        model_of(config).config,
        _schedule(config),
        _batch(config, (*_TARGET_FEATURES, "decoder_loss_weights")),
        devices,
        config.num_partitions,
        config.parameter_partitioning_dims,
        config.num_microbatches,
    )


def _schedule(config: PlanConfig) -> Any:
    return optimizers.make_schedule(optimizer_of(config), config.train_steps)


def _batch(
    config: PlanConfig, target_features: Sequence[str], **placement: Any
) -> dict[str, jax.ShapeDtypeStruct]:
    """Describes a batch: int32, encoder [B, S] and decoder [B, T]."""
    lengths = {
        "encoder_input_tokens": config.input_length,
        **dict.fromkeys(target_features, config.target_length),
    }
    return {
        name: jax.ShapeDtypeStruct((config.batch_size, length), "int32", **placement)
        for name, length in lengths.items()
    }


def decode_step(config: PlanConfig, devices: list[jax.Device]) -> Compiled:
    """Compiles greedy decoding of a batch, as evaluation runs it."""
    model = model_of(config)
    partitioner = partitioner_of(config, devices)
    params = state.abstract_params(model, partitioner)
    inputs = jax.ShapeDtypeStruct(
        (config.batch_size, config.input_length), "int32", sharding=partitioner.batch
    )

    def lower() -> jax.stages.Lowered:
        with partitioner.mesh, nn.logical_axis_rules(partitioner.axis_rules):
            return decoding.greedy.lower(
                model, params, inputs, config.max_decode_length
            )

    return _compile(lower)


def _compile(lower: Callable[[], Any]) -> Compiled:
    start = time.process_time()
    with precision.for_platform("tpu"):
        lowered = lower()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = needed_bytes(str(error))
        if needed is None:
            raise
        seconds = time.process_time() - start
        return Compiled(needed, 0, 0, 0, 0, None, seconds)
    memory = compiled.memory_analysis()
    return Compiled(
        needed=None,
        arguments=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        peak=memory.peak_memory_in_bytes,
        reused=memory.alias_size_in_bytes,
        program=hlo.parse(compiled.as_text()),
        seconds=time.process_time() - start,
    )


def needed_bytes(message: str) -> int | None:
    """Reads how much memory a program needs from the compiler's error message.

    "RESOURCE_EXHAUSTED: … Used 32.83G of 15.75G hbm. …" -> 32.83 GiB in bytes; None for
    other errors. If the temporary arrays alone are too large, the message has only
    their memory: "… required for HLO temporaries (17.09G) exceeds available HBM …".
    """
    found = re.search(
        r"(?:Used |HLO temporaries \()([\d.]+)([KMG])\)?"
        r"(?: of [\d.]+[KMG] hbm| exceeds available HBM)",
        message,
    )
    if "RESOURCE_EXHAUSTED" not in message or found is None:
        return None
    return int(float(found[1]) * _UNITS[found[2]])
