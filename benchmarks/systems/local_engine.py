"""This project's local engine."""

import argparse
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from dsbs_jax import weights
from dsbs_jax.local import (
    datasets,
    evaluation,
    optimizers,
    partitioning,
    row_merging,
    state,
    step,
)
from dsbs_jax.local.config import DecodingConfig, OptimizerConfig
from dsbs_jax.student import decoding
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer
from dsbs_jax.student.precision import Precision
from systems import workload
from systems.workload import Batch

# More than any width that `datasets.trim` rounds up to.
_SPARE_COLUMNS = 32


def make_student(options: argparse.Namespace) -> Transformer:
    """Creates the network of a size; of `--run "dsbs_jax mixed"` in mixed precision."""
    precision: Precision = "mixed" if "mixed" in options.run else "float32"
    shape = workload.SHAPES[options.size]
    return Transformer(
        T5Config(
            vocab_size=workload.VOCAB_SIZE,
            emb_dim=shape.width,
            num_heads=shape.heads,
            head_dim=shape.head_width,
            num_encoder_layers=shape.layers,
            num_decoder_layers=shape.layers,
            mlp_dim=shape.mlp_width,
            mlp_activations=("gelu", "linear"),
            logits_via_embedding=False,
            dropout_rate=workload.DROPOUT,
            precision=precision,
        )
    )


def load_weights(options: argparse.Namespace) -> Any:
    """Loads the parameters of `--weights`; T5X's network has the same names."""
    model, partitioner = make_student(options), partitioning.Partitioner()
    abstract = state.abstract_params(model, partitioner)
    return weights.load_params(weights.open_checkpoint(options.weights), abstract)


def training_rows(batch: Batch, width: int, merge: bool) -> dict[str, np.ndarray]:
    """Makes a training batch as the engine does: trimmed, and with merged rows.

    Args:
        batch: Token ids of pairs.
        width: Width of the student; merged rows have at most half as many tokens.
        merge: Whether several examples share a row.
    """
    features = workload.features_of_both_tasks(batch)
    padded = {
        name: np.pad(value, ((0, 0), (0, _SPARE_COLUMNS)))
        for name, value in features.items()
    }
    rows = datasets.trim(padded)
    return row_merging.merge_rows(rows, width // 2) if merge else rows


def train(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """Measures training steps; "rows not merged" keeps one example in each row."""
    start = time.perf_counter()
    model, partitioner = make_student(options), partitioning.Partitioner()
    key = jax.random.key(0)
    settings = OptimizerConfig(
        learning_rate=workload.LEARNING_RATE, clip_norm=workload.CLIP
    )
    schedule = optimizers.make_schedule(settings, total_steps=10_000)
    optimizer = optimizers.make_optimizer(settings, schedule)
    abstract = state.abstract_state(model, optimizer, partitioner)
    current = state.init_state(model, optimizer, abstract, key)
    train_step = step.make_train_step(model, optimizer, partitioner, workload.ALPHA)

    def run_step(batch: dict) -> None:
        nonlocal current
        current, metrics = train_step(current, partitioner.put_batch(batch), key)
        metrics["loss"].block_until_ready()

    merge = "not merged" not in options.run
    prepared = [training_rows(batch, model.config.emb_dim, merge) for batch in batches]
    run_step(prepared[0])
    first = time.perf_counter() - start
    _, seconds = workload.time_twice(run_step, prepared)
    shape = workload.SHAPES[options.size]
    return {
        "rate": options.pairs * len(batches) / seconds,
        "first": first,
        "flops": sum(workload.training_flops(shape, b) for b in batches) / seconds,
        "matrix_product": workload.matrix_product_rate(model.config.types.factors),
    }


class ForcedPredictor(evaluation.Predictor):
    """Decodes greedily and always generates the largest number of tokens."""

    def decode_batch(self, params: Any, tokens: jax.Array) -> decoding.Decoded:
        """Decodes int32 [B, S]."""
        length = self.config.max_decode_length
        return decoding.greedy(self.model, params, tokens, length, stop_at_eos=False)


def label(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """Measures greedy decoding of the label task."""
    model, partitioner = make_student(options), partitioning.Partitioner()
    if options.weights:
        params = load_weights(options)
    else:
        tokens = np.ones((1, 2), np.int32)
        params = jax.jit(model.init)(jax.random.key(0), tokens, tokens)
        params = nn.unbox(params)["params"]
    inputs = [np.asarray(row) for row in workload.rows_to_label(batches)]

    config = DecodingConfig(
        max_decode_length=workload.NEW_TOKENS, batch_size=workload.ROWS
    )
    predictor_class = ForcedPredictor if options.forced else evaluation.Predictor
    predictor = predictor_class(model, config, partitioner)
    answers: list[list[int]] = []

    def decode_all(rows: list) -> None:
        predictions, _ = predictor(params, rows)
        answers[:] = [np.trim_zeros(np.asarray(row)).tolist() for row in predictions]

    first, seconds = workload.time_twice(decode_all, [inputs])
    shape = workload.SHAPES[options.size]
    mean_length = float(np.mean([len(answer) for answer in answers]))
    return {
        "rate": len(inputs) / seconds,
        "first": first,
        "tokens": mean_length,
        "answers": answers,
        "flops": workload.labelling_flops(shape, batches, mean_length) / seconds,
        "matrix_product": workload.matrix_product_rate(model.config.types.factors),
    }
