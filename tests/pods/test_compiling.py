"""T5X's training step, lowered for given devices."""

import jax
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.planning import costs, hlo  # noqa: E402
from dsbs_jax.pods import compiling  # noqa: E402
from dsbs_jax.settings import from_values  # noqa: E402
from dsbs_jax.student import operations, sizes  # noqa: E402
from dsbs_jax.student.config import T5Config  # noqa: E402

ROWS, SOURCE, TARGET, VOCAB = 4, 16, 8, 256
SIZE = sizes.size_of("tiny")


def lower(num_microbatches=1, **values):
    student = from_values(T5Config, {**SIZE, "VOCAB_SIZE": VOCAB, **values})
    names = ("input_tokens", "target_tokens", "loss_weights", "task_ids")
    lengths = {f"decoder_{name}": TARGET for name in names}
    lengths["encoder_input_tokens"] = SOURCE
    batch = {
        name: jax.ShapeDtypeStruct((ROWS, length), "int32")
        for name, length in lengths.items()
    }
    return compiling.lower_train_step(
        student, lambda step: 1e-3, batch, jax.devices()[:1], 1, num_microbatches
    )


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_products_agree_with_the_formula(scan):
    program = hlo.parse(lower(2, SCAN_LAYERS=scan).compile().as_text())
    needed = ROWS * operations.training_operations(SIZE, SOURCE, TARGET, VOCAB)
    # T5X looks up embeddings with a product of one-hot vectors, and its gradient.
    needed += 2 * 2 * ROWS * (SOURCE + TARGET) * VOCAB * SIZE["EMB_DIM"]
    assert costs.product_operations(program) == pytest.approx(needed, rel=0.05)


def test_layers_that_are_not_scanned_cannot_be_recomputed():
    with pytest.raises(UserError, match="REMAT is 'full', expected 'none' without"):
        lower(REMAT="full")


def test_a_bias_in_each_layer_is_refused():
    with pytest.raises(UserError, match="RELATIVE_BIAS_IN_LAYERS is True, expected"):
        lower(RELATIVE_BIAS_IN_LAYERS=True)


def test_a_part_of_the_queries_is_refused():
    with pytest.raises(UserError, match="ATTENTION_QUERIES is 8, expected None: T5X's"):
        lower(ATTENTION_QUERIES=8)
