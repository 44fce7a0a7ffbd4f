"""The weights that training updates, and those that it keeps.

    all weights     params = the weights, frozen = None
    a part          params = that part, frozen = the others
    LoRA            params = the adapters, frozen = all weights

Frozen weights have no gradient and no optimizer state. Kernels are frozen in the type
that products round them to, which does not change a product.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from dsbs_jax.errors import UserError
from dsbs_jax.local.config import TrainableConfig
from dsbs_jax.student import lora, stacked_layers
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights.huggingface_names import EMBEDDING, OUTPUT

_LAYER = re.compile(r"(encoder|decoder)/layers_(\d+)/")


class Frozen(flax.struct.PyTreeNode):
    """The weights that training keeps.

    Attributes:
        weights: A tree of some or all of the student's parameters.
        scale: The factor of the adapters' term.
    """

    weights: Any
    scale: float = flax.struct.field(pytree_node=False)


def complete(params: Any, frozen: Frozen | None) -> Any:
    """Returns the tree with which the network computes, adapters included.

    Args:
        params: The weights or adapters that training updates.
        frozen: The other weights; None if `params` has all.
    """
    if frozen is None:
        return params
    return _joined(frozen.weights, lora.scaled(params, frozen.scale))


def weights(params: Any, frozen: Frozen | None) -> Any:
    """Returns the tree of all weights, without adapters; also of abstract arrays."""
    if frozen is None:
        return params
    flat = _flat(_joined(frozen.weights, params))
    return _tree({name: v for name, v in flat.items() if not lora.is_adapter(name)})


def split_abstract(
    full: Any, config: TrainableConfig, student: T5Config
) -> tuple[Any, Frozen | None]:
    """Splits shapes, dtypes and shardings of all weights.

    Returns:
        Those of the parameters that training updates, and of the frozen weights.

    Raises:
        UserError: The student has fewer layers than are trained, or none of the
            products to adapt.
    """
    if config.updates_all:
        return full, None
    flat = _flat(full)
    trained = _trained_names(flat, config, student)
    params = {name: flat[name] for name in trained}
    params |= _abstract_adapters(flat, config)
    factors = jnp.dtype(student.types.factors)
    frozen = {
        name: jax.ShapeDtypeStruct(
            leaf.shape,
            factors if name.endswith("/kernel") else leaf.dtype,
            sharding=leaf.sharding,
        )
        for name, leaf in flat.items()
        if name not in trained
    }
    return _tree(params), Frozen(_tree(frozen), config.scale)


def split(full: Any, params: Any, frozen: Frozen, key: jax.Array) -> tuple[Any, Frozen]:
    """Splits all weights, and creates adapters.

    Args:
        full: The tree of all weights, float32.
        params: Abstract parameters that training updates.
        frozen: The abstract frozen weights.
        key: Key for the random numbers of adapters.
    """
    flat, abstract = _flat(full), _flat(params)
    wanted = {n: leaf for n, leaf in abstract.items() if lora.is_adapter(n)}
    shapes = {name: leaf.shape for name, leaf in wanted.items()}
    # Each layer's factors are created by their names, stacked or not.
    created = lora.init(stacked_layers.layer_shapes(shapes), key)
    adapters = _flat(stacked_layers.convert(_tree(created), _tree(wanted)))
    made = {
        name: jax.device_put(adapters.get(name, flat.get(name)), leaf.sharding)
        for name, leaf in abstract.items()
    }
    return _tree(made), freeze(full, frozen)


def freeze(full: Any, frozen: Frozen) -> Frozen:
    """Takes the frozen weights from all weights, in their types."""
    flat = _flat(full)
    kept = {
        name: flat[name].astype(leaf.dtype)
        for name, leaf in _flat(frozen.weights).items()
    }
    return Frozen(_tree(kept), frozen.scale)


def _trained_names(
    names: Mapping[str, Any], config: TrainableConfig, student: T5Config
) -> frozenset[str]:
    """Returns the weights that training updates."""
    if config.lora_rank:
        return frozenset()
    layers = {
        "encoder": student.num_encoder_layers,
        "decoder": student.num_decoder_layers,
    }
    last = config.train_last_layers
    if last is not None and last > min(layers.values()):
        raise UserError(
            f"TRAIN_LAST_LAYERS is {last}, expected at most the layers of each stack, "
            f"{layers['encoder']} and {layers['decoder']}"
        )

    def is_trained(name: str) -> bool:
        if config.trainable not in ("all", name.partition("/")[0]):
            return False
        if config.freeze_embedding and name == EMBEDDING:
            return False
        layer = _LAYER.match(name)
        if last is None:
            return True
        if layer:
            return int(layer[2]) >= layers[layer[1]] - last
        # After the layers: the norm of a stack, and the output layer.
        return name.endswith("_norm/scale") or name == OUTPUT

    return frozenset(filter(is_trained, names))


def _abstract_adapters(
    flat: Mapping[str, Any], config: TrainableConfig
) -> dict[str, jax.ShapeDtypeStruct]:
    """Describes the factors of the adapters, sharded like their kernels."""
    if not config.lora_rank:
        return {}
    kernels = lora.kernels(flat, config.lora_targets)
    if not kernels:
        raise UserError(
            f"LORA_TARGETS is {config.lora_targets}, expected products that the "
            "student has: wi for T5 v1.0, wi_0 and wi_1 for the others"
        )
    adapters = {}
    for name in kernels:
        kernel, module = flat[name], lora.module_of(name)
        spec = (*kernel.sharding.spec, *[None] * len(kernel.shape))
        *layers, inputs, outputs = kernel.shape  # layers: only in a stacked array
        at = len(layers)
        for factor, shape, axes in (
            (lora.A, (inputs, config.lora_rank), (spec[at], None)),
            (lora.B, (config.lora_rank, outputs), (None, spec[at + 1])),
        ):
            partition = PartitionSpec(*spec[:at], *axes)
            sharding: Any = NamedSharding(kernel.sharding.mesh, partition)
            adapters[f"{module}/{factor}"] = jax.ShapeDtypeStruct(
                (*layers, *shape), jnp.float32, sharding=sharding
            )
    return adapters


def _joined(left: Any, right: Any) -> Any:
    return _tree({**_flat(left), **_flat(right)})


def _flat(tree: Any) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _tree(flat: Mapping[str, Any]) -> Any:
    return traverse_util.unflatten_dict(dict(flat), sep="/")
