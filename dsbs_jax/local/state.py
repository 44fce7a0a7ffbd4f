"""The state that training updates: step, parameters and optimizer state."""

import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from dsbs_jax.local import trainable
from dsbs_jax.local.config import TrainableConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import stacked_layers
from dsbs_jax.student.network import Transformer


class TrainState(flax.struct.PyTreeNode):
    """The complete state of a run.

    The step determines the random numbers and the position in the data.

    Attributes:
        step: int32 scalar, updates done.
        params: The parameters that are updated, float32: the student's, or adapters.
        opt_state: The optimizer's state.
        frozen: The weights that are not updated; None if all are.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    frozen: trainable.Frozen | None = None

    @property
    def weights(self) -> Any:
        """All weights of the student, without adapters."""
        return trainable.weights(self.params, self.frozen)


def stacks_layers(model: Transformer, updated: TrainableConfig) -> bool:
    """Whether the state of a run has one array for all layers of a stack.

    Layers of which some are updated and others are not keep their own arrays.
    """
    return model.config.scan and updated.train_last_layers is None


def abstract_params(model: nn.Module, partitioner: Partitioner) -> Any:
    """Returns shapes, dtypes and shardings of a student's parameters."""
    boxed = jax.eval_shape(lambda: _init_params(model, jax.random.key(0)))
    return _with_shardings(nn.unbox(boxed), partitioner.parameters(boxed))


def abstract_state(
    model: Transformer,
    optimizer: optax.GradientTransformation,
    partitioner: Partitioner,
    updated: TrainableConfig | None = None,
    stacked: bool | None = None,
) -> TrainState:
    """Returns shapes, dtypes and shardings of the complete state of a run.

    Args:
        model: The student.
        optimizer: The optimizer.
        partitioner: The mesh.
        updated: The weights that training updates; None is all.
        stacked: Whether all layers of a stack are in one array; None for the layout
            with which the run trains.

    Raises:
        UserError: The student lacks layers or products that `updated` names.
    """
    updated = updated or TrainableConfig()
    full = abstract_params(model, partitioner)
    if stacks_layers(model, updated) if stacked is None else stacked:
        full = stacked_layers.stack_abstract(full)
    params, frozen = trainable.split_abstract(full, updated, model.config)
    opt_state = jax.eval_shape(optimizer.init, params)
    shardings = partitioner.optimizer_state(
        optimizer, opt_state, params, jax.tree.map(lambda leaf: leaf.sharding, params)
    )
    step: Any = jax.ShapeDtypeStruct((), jnp.int32, sharding=partitioner.replicated)
    return TrainState(step, params, _with_shardings(opt_state, shardings), frozen)


def init_params(model: nn.Module, abstract: TrainState, key: jax.Array) -> Any:
    """Creates random weights; each device creates its own part."""
    weights = abstract.weights

    def init(key: jax.Array) -> Any:
        return stacked_layers.convert(nn.unbox(_init_params(model, key)), weights)

    shardings = jax.tree.map(lambda leaf: leaf.sharding, weights)
    return jax.jit(init, out_shardings=shardings)(key)


def init_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    abstract: TrainState,
    key: jax.Array,
    params: Any = None,
) -> TrainState:
    """Creates the state at step 0; each device creates its own part.

    Args:
        model: The student.
        optimizer: The optimizer.
        abstract: The result of `abstract_state` for this student and optimizer.
        key: Key for random parameters.
        params: Weights to start from instead of random ones.
    """
    if params is None:
        params = init_params(model, abstract, key)
    frozen = None
    if abstract.frozen is not None:
        params, frozen = trainable.split(params, abstract.params, abstract.frozen, key)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
    step = jax.device_put(jnp.zeros((), jnp.int32), shardings.step)
    return TrainState(step, params, opt_state, frozen)


def with_layout(state: TrainState, abstract: TrainState) -> TrainState:
    """Gives a state that was read the layout with which the run trains.

    If the layouts differ, both states are in memory for a moment.

    Args:
        state: Step, parameters and optimizer state, stacked or not.
        abstract: The wanted shapes and shardings.
    """
    wanted = abstract.replace(frozen=None)
    if _names(state.params) == _names(wanted.params):
        return state
    shardings = jax.tree.map(lambda leaf: leaf.sharding, wanted)
    change = functools.partial(stacked_layers.convert, like=wanted)
    return jax.jit(change, out_shardings=shardings)(state)


def _names(params: Any) -> set[str]:
    return set(traverse_util.flatten_dict(params, sep="/"))


def _init_params(model: nn.Module, key: jax.Array) -> Any:
    # The shapes of the parameters do not depend on the number or length of rows.
    tokens = jnp.ones((1, 2), jnp.int32)
    return model.init(key, tokens, tokens)["params"]


def _with_shardings(abstract: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding
        ),
        abstract,
        shardings,
    )
