"""T5X's step, network and decoding, with this project's objective."""

import argparse
import functools
import time
from typing import Any

import jax
import numpy as np
import seqio
from t5x import decoding, train_state, trainer
from t5x.examples.t5 import network

from dsbs_jax.pods import models, optimizers
from systems import local_engine, workload
from systems.workload import Batch


def make_model(options: argparse.Namespace) -> models.DistillationModel:
    """Creates the model with greedy decoding."""
    shape = workload.SHAPES[options.size]
    config = network.T5Config(
        vocab_size=workload.VOCAB_SIZE,
        dtype="float32",
        emb_dim=shape.width,
        num_heads=shape.heads,
        head_dim=shape.head_width,
        num_encoder_layers=shape.layers,
        num_decoder_layers=shape.layers,
        mlp_dim=shape.mlp_width,
        mlp_activations=("gelu", "linear"),
        dropout_rate=workload.DROPOUT,
        logits_via_embedding=False,
    )
    vocabulary = seqio.PassThroughVocabulary(workload.VOCAB_SIZE, eos_id=1)
    return models.DistillationModel(
        module=network.Transformer(config),
        input_vocabulary=vocabulary,
        output_vocabulary=vocabulary,
        optimizer_def=optimizers.adamw(),
        alpha=workload.ALPHA,
        decode_fn=functools.partial(
            decoding.temperature_sample,
            temperature=0.0,
            max_decode_steps=workload.NEW_TOKENS,
        ),
    )


def widen(batches: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Pads all batches to the longest rows of all, because T5X's shapes are fixed."""
    widths = {name: max(b[name].shape[1] for b in batches) for name in batches[0]}
    return [
        {
            name: np.pad(value, ((0, 0), (0, widths[name] - value.shape[1])))
            for name, value in batch.items()
        }
        for batch in batches
    ]


def decoding_batches(batches: list[Batch]) -> list[dict[str, np.ndarray]]:
    """Makes batches of label rows, sorted by length and padded to the longest."""
    tokens = workload.pad(sorted(workload.rows_to_label(batches), key=len))
    tokens = np.pad(tokens, ((0, -len(tokens) % workload.ROWS), (0, 0)))
    return [
        {
            "encoder_input_tokens": tokens[start : start + workload.ROWS],
            "decoder_input_tokens": np.zeros(
                (workload.ROWS, workload.NEW_TOKENS + 1), np.int32
            ),
        }
        for start in range(0, len(tokens), workload.ROWS)
    ]


def label(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """Measures greedy decoding of the label task."""
    model = make_model(options)
    parts = decoding_batches(batches)
    if options.weights:
        params = local_engine.load_weights(options)
    else:
        shapes = {name: value.shape for name, value in parts[0].items()}
        init = jax.jit(lambda key: model.get_initial_variables(key, shapes)["params"])
        params = init(jax.random.key(0))
    predict = jax.jit(model.predict_batch)

    def decode(part: dict) -> None:
        jax.device_get(predict(params, part))

    first, seconds = workload.time_twice(decode, parts)
    return {"rate": len(workload.rows_to_label(batches)) / seconds, "first": first}


def train(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """Measures T5X's training step."""
    start = time.perf_counter()
    model = make_model(options)
    prepared = widen([workload.features_of_both_tasks(batch) for batch in batches])
    for batch in prepared:
        has_loss = batch["decoder_target_tokens"] > 0
        batch["decoder_loss_weights"] = has_loss.astype(np.int32)
    shapes = {name: value.shape for name, value in prepared[0].items()}
    key = jax.random.key(0)

    @jax.jit
    def init(key: jax.Array) -> Any:
        variables = model.get_initial_variables(key, shapes)
        created = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables)
        return created.replace(params_axes=None)

    def update(state: Any, batch: dict, key: jax.Array) -> tuple[Any, jax.Array]:
        state, metrics = trainer.train_with_lr(
            state, batch, workload.LEARNING_RATE, key, model, num_microbatches=None
        )
        return state, metrics["loss"].compute()

    state, train_step = init(key), jax.jit(update, donate_argnums=0)

    def run_step(batch: dict) -> None:
        nonlocal state
        state, loss = train_step(state, batch, key)
        loss.block_until_ready()

    run_step(prepared[0])
    first = time.perf_counter() - start
    _, seconds = workload.time_twice(run_step, prepared)
    return {"rate": options.pairs * len(batches) / seconds, "first": first}
