import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config

GOOD = {
    "vocab_size": 48,
    "emb_dim": 16,
    "num_heads": 2,
    "head_dim": 8,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "mlp_dim": 24,
    "mlp_activations": ("gelu", "linear"),
    "logits_via_embedding": False,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("emb_dim", "wide"),
        ("num_heads", -1),
        ("mlp_activations", ("tanh",)),
        ("dropout_rate", 1.0),
        ("precision", "float16"),
        ("relative_buckets", 30),
        ("relative_max_distance", 32),
    ],
)
def test_error_names_the_macro_and_the_value(field, value):
    with pytest.raises(UserError, match=f"(?i){field} is .*expected"):
        T5Config(**{**GOOD, field: value})


def test_lists_become_tuples():
    config = T5Config(**{**GOOD, "mlp_activations": ["gelu", "linear"]})
    assert hash(config) == hash(T5Config(**GOOD))
