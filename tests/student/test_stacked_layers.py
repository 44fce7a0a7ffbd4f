"""One array for all layers of a stack."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from dsbs_jax.student import stacked_layers


def tree_of(layers=3):
    rng = np.random.default_rng(0)
    stacks = {
        stack: {
            f"layers_{i}": {
                "mlp": {"wo": {"kernel": jnp.asarray(rng.normal(size=(4, 2)))}},
                "norm": {"scale": jnp.asarray(rng.normal(size=2))},
            }
            for i in range(layers)
        }
        for stack in ("encoder", "decoder")
    }
    stacks["encoder"]["encoder_norm"] = {"scale": jnp.ones(2)}
    return {**stacks, "token_embedder": {"embedding": jnp.ones((8, 2))}}


def shapes_of(tree):
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def abstract(tree, stacked):
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("model",))
    placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    tree = jax.tree.map(
        lambda n: jax.ShapeDtypeStruct(n.shape, n.dtype, sharding=placed), tree
    )
    return stacked_layers.stack_abstract(tree) if stacked else tree


@pytest.mark.parametrize("layers", [1, 3, 12])
def test_stacked_and_separate_arrays_are_inverses(layers):
    tree = tree_of(layers)
    wanted = abstract(tree, stacked=True)
    stacked = stacked_layers.convert(tree, wanted)
    assert shapes_of(stacked) == shapes_of(wanted)
    assert shapes_of(stacked)["encoder/layers/mlp/wo/kernel"] == (layers, 4, 2)
    last = tree["decoder"][f"layers_{layers - 1}"]["norm"]["scale"]
    np.testing.assert_array_equal(
        stacked["decoder"]["layers"]["norm"]["scale"][layers - 1], last
    )
    for apart in (
        stacked_layers.unstack(stacked),
        stacked_layers.convert(stacked, abstract(tree, stacked=False)),
        stacked_layers.unstack(tree),
    ):
        jax.tree.map(np.testing.assert_array_equal, apart, tree)
    assert stacked_layers.layer_shapes(shapes_of(stacked)) == shapes_of(tree)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("make", [optax.adamw, optax.adafactor, optax.lion])
def test_states_of_optimizers_are_converted(make, layers):
    """Adafactor has an array of one number where it needs no moment."""
    tree = tree_of(layers)
    kernel = jnp.ones((128, 256))
    tree["encoder"] |= {
        f"layers_{i}": {"mlp": {"wo": {"kernel": i + kernel}}} for i in range(layers)
    }
    stacked = stacked_layers.convert(tree, abstract(tree, stacked=True))
    optimizer = make(0.1)
    own = optimizer.update(tree, optimizer.init(tree), tree)[1]
    there = stacked_layers.convert(own, optimizer.init(stacked))
    assert jax.tree.map(jnp.shape, there) == jax.tree.map(
        jnp.shape, optimizer.init(stacked)
    )
    jax.tree.map(np.testing.assert_array_equal, stacked_layers.convert(there, own), own)


def test_name_of_a_layer():
    name = "encoder/layers/mlp/wo/kernel"
    assert stacked_layers.is_stacked(name)
    assert stacked_layers.layer_name(name, 3) == "encoder/layers_3/mlp/wo/kernel"
    assert stacked_layers.place("encoder/layers_3/mlp/wo/kernel", {name}) == (name, 3)
    norm = "encoder/encoder_norm/scale"
    assert stacked_layers.place(norm, {norm}) == (norm, None)
    with pytest.raises(ValueError, match="not the name of a stacked array"):
        stacked_layers.layer_name(norm, 0)
