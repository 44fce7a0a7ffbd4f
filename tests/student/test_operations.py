import jax
import jax.numpy as jnp
import pytest

from dsbs_jax.student import operations, sizes
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer

# Parameters of the published checkpoints, as Hugging Face counts them.
PUBLISHED = {
    "small": 76_961_152,
    "base": 247_577_856,
    "large": 783_150_080,
    "t5_1_0_small": 60_506_624,
    "t5_1_0_base": 222_903_552,
    "byt5_small": 299_637_760,
    "byt5_base": 581_653_248,
}


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_parameters_are_those_of_the_published_checkpoints(name, count):
    rows = 384 if name.startswith("byt5") else operations.PUBLISHED_ROWS
    assert operations.parameter_count(sizes.size_of(name), rows) == count


@pytest.mark.parametrize("changes", [{}, {"RELATIVE_BIAS_IN_LAYERS": True}])
def test_parameters_are_those_of_the_network(changes):
    size = {**sizes.size_of("tiny"), **changes}
    values = {i.lower(): value for i, value in size.items()}
    model = Transformer(T5Config(vocab_size=512, **values))
    tokens = jnp.ones((1, 4), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens, tokens)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert operations.parameter_count(size, 512) == count


def test_operations_of_a_hand_computed_student():
    """Width 2, one head of width 3, one layer each, MLP 5, 7 rows; 4 and 1 tokens."""
    size = {
        "EMB_DIM": 2,
        "NUM_HEADS": 1,
        "HEAD_DIM": 3,
        "NUM_ENCODER_LAYERS": 1,
        "NUM_DECODER_LAYERS": 1,
        "MLP_DIM": 5,
        "MLP_ACTIVATIONS": ("relu",),
        "LOGITS_VIA_EMBEDDING": False,
    }
    # Queries, keys, values, output: 24 weights. MLP: 20.
    encoder = 4 * (24 + 20) + 2 * 4 * 4 * 3
    decoder = (24 + 20) + 2 * 1 * 3 + (2 * 6 + 4 * 2 * 6) + 2 * 1 * 4 * 3
    expected = 2 * (encoder + decoder + 2 * 7)
    assert operations.forward_operations(size, 4, 1, 7) == expected
    assert operations.training_operations(size, 4, 1, 7) == 3 * expected
