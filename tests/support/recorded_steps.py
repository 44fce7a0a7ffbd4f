"""T5X's trainer, which also writes the examples that a process feeds in each step.

`recorded_steps.gin` selects it for a run of `t5x.train`.
"""

import json
import pathlib

import gin
import jax
import numpy as np

from dsbs_jax.pods import trainer

_FEATURES = ("encoder_input_tokens", "decoder_target_tokens")


def make_trainer(folder, **arguments):
    """Creates the trainer that the gin files configure; takes T5X's arguments."""
    made = gin.get_configurable(trainer.Trainer)(**arguments)
    path = pathlib.Path(folder) / f"examples-{jax.process_index()}.jsonl"
    run_step = made._step_until_preempted

    def record_and_run_step(step, state, batch):
        line = {"step": made._steps_done + 1, "rows": _rows_of_this_process(batch)}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return run_step(step, state, batch)

    made._step_until_preempted = record_and_run_step
    return made


def _rows_of_this_process(batch):
    """Returns {row of the global batch: its input and target tokens}."""
    rows = {}
    for name in _FEATURES:
        for shard in batch[name].addressable_shards:
            # Devices that share a copy of the student hold the same rows.
            if shard.replica_id:
                continue
            first = shard.index[0].start or 0
            for number, tokens in enumerate(np.asarray(shard.data), first):
                rows.setdefault(number, []).append(np.trim_zeros(tokens, "b").tolist())
    return rows


def examples_of_steps(folder):
    """Reads a run folder: {step: [(row, tokens) of all processes, by row]}."""
    steps = {}
    for path in pathlib.Path(folder).glob("examples-*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            rows = ((int(row), tokens) for row, tokens in line["rows"].items())
            steps.setdefault(line["step"], []).extend(rows)
    return {step: sorted(rows) for step, rows in steps.items()}
