import numpy as np
import pytest

from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer


@pytest.fixture(scope="session")
def make_model():
    """Makes a student of width 16 with one layer in each stack."""

    def make(**fields):
        shape = {
            "vocab_size": 32,
            "emb_dim": 16,
            "num_heads": 4,
            "head_dim": 4,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "mlp_dim": 32,
            "mlp_activations": ("gelu", "linear"),
            "logits_via_embedding": False,
            "dropout_rate": 0.0,
        }
        return Transformer(T5Config(**{**shape, **fields}))

    return make


@pytest.fixture(scope="session")
def make_batch():
    """Makes a batch of random rows: label and rationale rows alternate."""

    def make(rows=8, source=12, target=6, seed=0):
        rng = np.random.default_rng(seed)

        def tokens(width):
            lengths = rng.integers(2, width + 1, size=(rows, 1))
            values = rng.integers(3, 32, size=(rows, width))
            inside = np.arange(width) < lengths
            values[np.arange(rows), lengths[:, 0] - 1] = 1
            return np.where(inside, values, 0).astype(np.int32)

        targets = tokens(target)
        task = 1 + np.arange(rows, dtype=np.int32)[:, None] % 2
        return {
            "encoder_input_tokens": tokens(source),
            "decoder_target_tokens": targets,
            "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
            "decoder_loss_weights": (targets > 0).astype(np.int32),
            "decoder_task_ids": np.where(targets > 0, task, 0).astype(np.int32),
        }

    return make
