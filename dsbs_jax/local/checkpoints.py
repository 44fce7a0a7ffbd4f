"""Orbax checkpoints of a run: the last ones to resume from, and the best on validation.

checkpoints/checkpoint_<step>/params     parameters that were updated, which is all
                                         that evaluation and inference read
checkpoints/checkpoint_<step>/progress   step and optimizer state
checkpoints/digests/checkpoint_<step>.json   SHA-256 of each of its files, written last

A run that keeps some of its weights, or trains adapters, stores the weights before the
training once:

base/checkpoint_0/params     all weights
checkpoints/frozen.json      where they are, and how adapters are added to them
"""

import math
import pathlib
import re
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from flax import traverse_util
from orbax.checkpoint.checkpoint_managers import preservation_policy

from dsbs_jax.errors import UserError, reason
from dsbs_jax.local.state import TrainState
from dsbs_jax.student import stacked_layers
from dsbs_jax.weights import (
    arrays,
    check_tree,
    digests,
    failed_writes,
    load_params,
)
from dsbs_jax.weights.checkpoint_folders import PREFIX, SCORE
from dsbs_jax.weights.reader import ParameterReader
from dsbs_jax.weights.run_checkpoints import (
    BASE_FOLDER,
    Overlay,
    open_arrays,
    open_updated,
    write_overlay,
)

# Score of a checkpoint that was saved before its evaluation.
UNSCORED = -math.inf
_STEP = "step"


def prepare_folder(folder: pathlib.Path, abstract: TrainState) -> None:
    """Creates the run folder; checks that it is writable and the disk has enough space.

    Args:
        folder: The run folder.
        abstract: Shapes of the state that checkpoints hold.

    Raises:
        UserError: The folder cannot be created or is not writable, or the disk is too
            full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write_probe"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"MODEL_DIR {folder}: cannot be written ({reason(error)})"
        ) from error
    # The last two checkpoints, the best one and the one that is being written.
    _check_free_space(folder, 4, abstract)


def _check_free_space(folder: pathlib.Path, count: int, state: TrainState) -> None:
    """Checks that the disk has space for a number of checkpoints."""
    saved = jax.tree.leaves((state.params, state.opt_state))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in saved)
    needed, free = count * size, shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 2**20:,.1f} MiB free, expected at least "
            f"{needed / 2**20:,.1f} MiB for checkpoints"
        )


def checkpoint_path(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Returns the folder of a checkpoint in the folder of the run's checkpoints."""
    return folder / f"{PREFIX}{step}"


def newest_complete(folder: pathlib.Path) -> int | None:
    """Returns the newest step whose files are unchanged, or None.

    All checkpoints are checked, because the final scores also read the best one.
    Checkpoints with missing or changed files, or without digests, are reported and
    renamed to `damaged_checkpoint_<step>`.

    Args:
        folder: The folder of the run's checkpoints.
    """
    matches = [re.fullmatch(rf"{PREFIX}(\d+)", p.name) for p in folder.glob("*")]
    complete = []
    for step in (int(match[1]) for match in matches if match):
        checkpoint = checkpoint_path(folder, step)
        problem = digests.find_damage(checkpoint)
        if problem is None:
            complete.append(step)
        else:
            _rename_damaged(checkpoint, problem)
    return max(complete, default=None)


def _rename_damaged(checkpoint: pathlib.Path, problem: str) -> None:
    renamed = checkpoint.with_name(f"damaged_{checkpoint.name}")
    logging.warning(
        "%s is damaged (%s); renamed to %s", checkpoint, problem, renamed.name
    )
    shutil.rmtree(renamed, ignore_errors=True)
    checkpoint.rename(renamed)
    digests.remove(checkpoint)


def _check_finite(state: TrainState, last: int | None) -> None:
    """Checks that all parameters are finite, before they replace a checkpoint."""
    if all(jax.tree.leaves(jax.tree.map(_is_finite, state.params))):
        return
    names = traverse_util.flatten_dict(state.params, sep="/")
    name = next(name for name, value in names.items() if not _is_finite(value))
    raise UserError(
        f"parameter {name} is not finite after step {int(state.step)}; "
        f"{_last_checkpoint(last)}; try a smaller LEARNING_RATE in a new MODEL_DIR"
    )


@jax.jit
def _is_finite(array: jax.Array) -> jax.Array:
    return jnp.isfinite(array).all()


def _last_checkpoint(step: int | None) -> str:
    """Describes the checkpoint that a failed run keeps."""
    if step is None:
        return "no checkpoint was saved"
    return f"the checkpoint of step {step} is complete and is kept"


def write_base(folder: pathlib.Path, params: Any, overlay: Overlay) -> None:
    """Stores the weights before a training that does not update all of them.

    Args:
        folder: The run folder, without a checkpoint.
        params: All weights.
        overlay: How the checkpoints of the run are added to them.

    Raises:
        UserError: The weights cannot be written.
    """
    base = folder / BASE_FOLDER
    path = checkpoint_path(base, 0)
    try:
        with failed_writes.without_library_messages(path):
            shutil.rmtree(base, ignore_errors=True)
            digests.prepare(base, ())
            with ocp.Checkpointer(
                ocp.CompositeCheckpointHandler(params=ocp.StandardCheckpointHandler())
            ) as checkpointer:
                checkpointer.save(
                    path.resolve(),
                    args=ocp.args.Composite(params=ocp.args.StandardSave(params)),
                )
            digests.write(path)
            write_overlay(folder / "checkpoints", overlay)
    # The disk is full or gone; the type depends on what was being written.
    except (OSError, ValueError, RuntimeError) as error:
        cause = failed_writes.reason(error)
        raise UserError(f"{path}: cannot be written: {cause}") from error


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Opens the folder, which need not exist.

        Args:
            folder: The folder of the run's checkpoints.
        """
        keep = preservation_policy.AnyPreservationPolicy(
            [
                # Two, so that a run can resume if the last one is damaged.
                preservation_policy.LatestN(2),
                # With the score alone, orbax would keep the latest of equal scores.
                preservation_policy.BestN(
                    get_metric_fn=lambda metrics: (metrics[SCORE], -metrics[_STEP]),
                    n=1,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "progress": ocp.StandardCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                step_prefix=PREFIX.removesuffix("_"),
                preservation_policy=keep,
                best_fn=lambda metrics: metrics[SCORE],
                enable_async_checkpointing=False,
            ),
        )

    @property
    def last(self) -> int | None:
        """The newest step, or None."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step with the best score, the earliest if scores are equal; or None."""
        scores = {step: self.score(step) for step in self._manager.all_steps()}
        return max(sorted(scores), key=lambda step: scores[step]) if scores else None

    def score(self, step: int) -> float:
        """Returns the validation score that was saved with a step."""
        return float(self._manager.metrics(step)[SCORE])

    def is_scored(self, step: int) -> bool:
        """Returns whether a step was saved after its evaluation."""
        return step in self._manager.all_steps() and self.score(step) != UNSCORED

    def save(self, state: TrainState, score: float = UNSCORED) -> None:
        """Writes a checkpoint. A checkpoint that is not complete is never read.

        Args:
            state: The state. It replaces an existing checkpoint of this step, which
                was saved before the evaluation.
            score: Score on validation; higher is better.

        Raises:
            UserError: The checkpoint cannot be written, or the student's parameters are
                not finite.
        """
        _check_finite(state, self.last)
        # A disk that fills up while orbax writes ends in hundreds of lines.
        _check_free_space(self._manager.directory, 1, state)
        step = int(state.step)
        folder = pathlib.Path(self._manager.directory)
        try:
            with failed_writes.without_library_messages(self._path(step)):
                digests.prepare(folder, map(self._path, self._manager.all_steps()))
                digests.remove(self._path(step))
                if step in self._manager.all_steps():
                    self._manager.delete(step)
                self._write(step, state, score)
                digests.write(self._path(step))
                digests.remove_old(folder)
        # The disk is full or gone; the type depends on what was being written.
        except (OSError, ValueError, RuntimeError) as error:
            cause = failed_writes.reason(error)
            raise UserError(
                f"{self._path(step)}: cannot be written: {cause}; earlier checkpoints "
                "are complete, and the same command resumes from them"
            ) from error

    def _write(self, step: int, state: TrainState, score: float) -> None:
        progress = {"step": state.step, "opt_state": state.opt_state}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                progress=ocp.args.StandardSave(progress),
            ),
            metrics={SCORE: float(score), _STEP: step},
            force=True,
        )
        self._manager.wait_until_finished()

    def _path(self, step: int) -> pathlib.Path:
        return checkpoint_path(pathlib.Path(self._manager.directory), step)

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads a complete state; each device reads its own part.

        Args:
            step: The step of the checkpoint.
            abstract: Shapes and shardings of the state, stacked if the checkpoint is.

        Raises:
            UserError: The checkpoint holds another student or optimizer, or is damaged.
        """
        # Orbax would report a difference in many lines, or cut the arrays.
        check_tree(self._reader(step), abstract.params)
        progress = {"step": abstract.step, "opt_state": abstract.opt_state}
        try:
            items = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(abstract.params),
                    progress=ocp.args.StandardRestore(progress),
                ),
            )
        # A tree of another optimizer, or a file without digests that is damaged.
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._path(step)}: the state of the optimizer cannot be read; "
                "expected that of the run's OPTIMIZER: "
                f"{arrays.reason(error):.200}"
            ) from error
        return TrainState(params=items["params"], **items["progress"])

    def restore_params(self, step: int, abstract_params: Any) -> Any:
        """Reads only the parameters.

        Args:
            step: The step of the checkpoint.
            abstract_params: Shapes and shardings of the parameters, stacked or not.

        Raises:
            UserError: The checkpoint holds another student, or is damaged.
        """
        # The disk may have changed since the run wrote the checkpoint.
        if problem := digests.find_damage(self._path(step), ("params",)):
            raise UserError(
                f"{self._path(step)} is damaged ({problem}); the same command resumes "
                "with the other checkpoints"
            )
        return load_params(self._reader(step), abstract_params)

    def is_stacked(self, step: int) -> bool:
        """Whether a checkpoint has one array for all layers of a stack."""
        stored = open_arrays(epath.Path(self._path(step)))
        return any(map(stacked_layers.is_stacked, stored.shapes()))

    def _reader(self, step: int) -> ParameterReader:
        return open_updated(epath.Path(self._path(step)))

    def close(self) -> None:
        """Closes the checkpoint manager."""
        self._manager.close()
