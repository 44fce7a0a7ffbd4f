import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from t5x import partitioning, utils  # noqa: E402
from t5x import trainer as t5x_trainer  # noqa: E402

from dsbs_jax.local import optimizers as schedules  # noqa: E402
from dsbs_jax.pods import optimizers, preemption, trainer  # noqa: E402
from dsbs_jax.task_ids import LABEL, RATIONALE  # noqa: E402

ROWS, SOURCE, TARGET = 8, 10, 6


def uneven_batch(seed=0):
    """Returns a batch whose microbatches have very different token counts per task."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, TARGET + 1, ROWS)
    inside = np.arange(TARGET) < lengths[:, None]
    targets = np.where(inside, rng.integers(3, 200, (ROWS, TARGET)), 0)
    task = np.array([1, 1, 1, 2, 2, 1, 2, 2])[:, None]
    return {
        "encoder_input_tokens": rng.integers(3, 200, (ROWS, SOURCE)),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_loss_weights": inside,
        "decoder_task_ids": np.where(inside, task, 0),
    }


def as_int32(batch):
    return {name: value.astype(np.int32) for name, value in batch.items()}


@pytest.fixture
def make_trainer(make_pod_model, tmp_path):
    """Creates a trainer and its state: (class, parts, schedule, optimizer)."""

    def make(
        cls=trainer.Trainer,
        parts=1,
        schedule=lambda step: 1.0,
        optimizer=None,
        step=0,
        folder=None,
        **arguments,
    ):
        model = make_pod_model(ALPHA=0.3)
        # Gradient descent with rate 1: the change of the parameters is the gradient.
        model.optimizer_def = optimizer or optimizers.TrainerScheduled(optax.sgd(1.0))
        partitioner = partitioning.PjitPartitioner(num_partitions=1)
        batch = as_int32(uneven_batch())
        initializer = utils.TrainStateInitializer(
            model.optimizer_def,
            model.get_initial_variables,
            {name: value.shape for name, value in batch.items()},
            partitioner,
        )
        state = initializer.from_scratch(jax.random.PRNGKey(0))
        state = state.replace_step(jnp.asarray(step))
        return cls(
            model=model,
            train_state=state,
            partitioner=partitioner,
            eval_names=[],
            summary_dir=folder,
            train_state_axes=initializer.train_state_axes,
            rng=jax.random.PRNGKey(1),
            learning_rate_fn=schedule,
            num_microbatches=parts,
            **arguments,
        )

    return make


def one_step(made, step=0):
    """Runs one step; returns what it subtracted from the parameters, and metrics."""
    before = jax.device_get(made.train_state.params)
    batch = as_int32(uneven_batch())
    summary = made.train(iter([batch]), 1, start_step=step).result()
    made.close()
    change = jax.tree.map(
        lambda a, b: a - b, before, jax.device_get(made.train_state.params)
    )
    return change, {name: value.value for name, value in summary.items()}


def largest_difference(a, b):
    gaps = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)
    return max(jax.tree.leaves(gaps))


OURS = ("loss", "label_loss", "rationale_loss", "label_tokens", "rationale_tokens")


@pytest.mark.parametrize("parts", [2, 4])
def test_microbatches_do_not_change_gradients_and_metrics(make_trainer, parts):
    expected, metrics = one_step(make_trainer(parts=1))
    summed, summed_metrics = one_step(make_trainer(parts=parts))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
        summed,
        expected,
    )
    for name in (*OURS, "accuracy"):
        np.testing.assert_allclose(
            summed_metrics[name], metrics[name], rtol=1e-5, err_msg=name
        )
    assert metrics["label_tokens"] > 0 and metrics["rationale_tokens"] > 0
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-3


def test_t5xs_own_trainer_adds_the_means_of_microbatches(make_trainer):
    expected, _ = one_step(make_trainer(t5x_trainer.Trainer, parts=1))
    summed, _ = one_step(make_trainer(t5x_trainer.Trainer, parts=2))
    assert largest_difference(expected, summed) > 1e-2


def test_every_row_has_the_counts_of_the_global_batch():
    batch = as_int32(uneven_batch())
    counts = trainer.with_token_counts(batch)[trainer.TOKEN_COUNTS]
    assert counts.shape == (ROWS, 2)
    expected = [(batch["decoder_task_ids"] == t).sum() for t in (LABEL, RATIONALE)]
    np.testing.assert_array_equal(counts, np.tile(expected, (ROWS, 1)))


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion"])
def test_the_logged_learning_rate_is_the_one_that_is_used(make_trainer, name):
    def run(schedule):
        optimizer = getattr(optimizers, name)()
        made = make_trainer(schedule=schedule, optimizer=optimizer, step=2)
        made._skipped_seen_batches = True
        return one_step(made, step=2)

    # Step 2 of 4 of a decay from 0.2 to 0.
    scheduled, metrics = run(schedules.linear_decay(0.2, 4))
    same, _ = run(lambda step: 0.1)
    half, _ = run(lambda step: 0.05)
    np.testing.assert_allclose(metrics["learning_rate"], 0.1, rtol=1e-6)
    assert largest_difference(scheduled, same) < 1e-6
    assert largest_difference(jax.tree.map(lambda x: 2 * x, half), same) < 1e-6
    assert largest_norm(scheduled) > 1e-3


def largest_norm(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_a_resumed_run_skips_the_batches_it_has_seen(make_trainer):
    made = make_trainer(step=3)
    seen = []

    def batches():
        for number in range(10):
            seen.append(number)
            yield as_int32(uneven_batch(number))

    source = batches()
    made.train(source, 1, start_step=3).result()
    assert seen == [0, 1, 2, 3]
    made.train(source, 2, start_step=4).result()
    assert seen == [0, 1, 2, 3, 4, 5]
    made.close()
    reference = make_trainer(step=3)
    reference._skipped_seen_batches = True
    reference.train(
        (as_int32(uneven_batch(n)) for n in (3, 4, 5)), 3, start_step=3
    ).result()
    reference.close()
    assert (
        largest_difference(made.train_state.params, reference.train_state.params) == 0
    )


def train_with_a_signal(made, number, at):
    """Trains for five steps; the signal arrives before the step `at`, from 0."""
    batches = [as_int32(uneven_batch(n)) for n in range(5)]

    def source():
        for step, batch in enumerate(batches):
            if step == at:
                os.kill(os.getpid(), number)
            yield batch

    made.compile_train(batches[0])
    try:
        made.train(source(), 5, start_step=0).result()
    finally:
        made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_with_the_state_of_the_last_step(
    make_trainer, number, capsys
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    made = make_trainer(total_steps=5)
    with pytest.raises(preemption.Preempted) as raised:
        train_with_a_signal(made, number, at=2)
    assert signal.signal(signal.SIGINT, before) == signal.default_int_handler
    assert raised.value.code == 128 + number
    assert "saving a checkpoint after step 3; run the same" in capsys.readouterr().out
    assert int(made.train_state.step) == 3
    reference = make_trainer()
    reference.train(
        (as_int32(uneven_batch(n)) for n in range(3)), 3, start_step=0
    ).result()
    reference.close()
    assert (
        largest_difference(made.train_state.params, reference.train_state.params) == 0
    )


def test_a_signal_in_the_last_step_does_not_end_the_run(make_trainer):
    """Otherwise a restart would find a complete run without its last evaluation."""
    made = make_trainer(total_steps=5)
    train_with_a_signal(made, signal.SIGTERM, at=4)
    assert int(made.train_state.step) == 5
