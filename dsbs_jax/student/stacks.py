"""Layers one after another: unrolled or scanned, stored or recomputed."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsbs_jax.student.config import T5Config
from dsbs_jax.student.products import PRODUCT
from dsbs_jax.student.stacked_layers import STACKED


def recomputed(
    layer: type[nn.Module], config: T5Config, static_argnums: tuple[int, ...]
) -> type[nn.Module]:
    """Returns the layer type that recomputes what the config's `remat` says."""
    if config.remat_policy == "none":
        return layer
    return nn.remat(layer, static_argnums=static_argnums, policy=_saveable(config))


def _saveable(config: T5Config) -> Callable[..., Any] | None:
    """Returns which results of a recomputed layer are stored; None stores none."""
    # Products have a name, because a policy does not see those in custom gradients.
    policies = jax.checkpoint_policies
    if config.remat_policy == "dots":
        return policies.save_only_these_names(PRODUCT)
    if config.remat_policy == "offload":
        return policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=[PRODUCT],
            offload_src="device",
            offload_dst="pinned_host",
        )
    return None


def apply_layers(
    stack: nn.Module, x: jax.Array, *context: Any, deterministic: bool
) -> jax.Array:
    """Applies the layers of a stack one after another.

    Args:
        stack: An encoder or a decoder.
        x: [B, T, D], for an encoder [B, S, D].
        *context: Further arguments of each layer, arrays or tuples of arrays.
        deterministic: Whether dropout is off.

    Returns:
        [B, T, D].
    """
    # Initialization must run the layers themselves, which declare the parameters.
    if stack.config.scan and not stack.is_initializing():
        return _scan_layers(stack, x, *context, deterministic=deterministic)
    for layer in stack.layers:
        x = layer(x, *context, deterministic)
    return x


def _scan_layers(
    stack: nn.Module, x: jax.Array, *context: Any, deterministic: bool
) -> jax.Array:
    """Applies the layers with `jax.lax.scan`, which compiles one layer for all.

    If the parameters are stacked (`stacked_layers`), each iteration reads its layer.
    If each layer has its own parameters, as in T5X's checkpoints, they are stacked
    here, which costs a second copy of them during the step.
    """
    config = stack.config

    def apply_layer(x: jax.Array, scanned: tuple) -> tuple[jax.Array, None]:
        params, key = scanned
        # A layer without parent: its parameters are passed in.
        layer = stack.layer_type(config, parent=None)
        rngs = None if key is None else {"dropout": key}
        x = layer.apply({"params": params}, x, *context, deterministic, rngs=rngs)
        return x, None

    stacked = stack.variables["params"].get(STACKED)
    if stacked is None:
        layers = [layer.variables["params"] for layer in stack.layers]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    keys = None
    if not deterministic:
        keys = jax.random.split(stack.make_rng("dropout"), len(stack.layers))
    if config.remat_policy != "none":
        # A scan's body is compiled by itself, so XLA cannot merge the recomputed layer
        # with the original one, which `prevent_cse` would guard against.
        apply_layer = jax.checkpoint(
            apply_layer, prevent_cse=False, policy=_saveable(config)
        )
    return jax.lax.scan(apply_layer, x, (stacked, keys))[0]
