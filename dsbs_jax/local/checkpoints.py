"""Orbax checkpoints: the last one to go on from, and the best on validation.

`<directory>/checkpoint_<step>/` holds the items `params` and `progress` (step and
optimiser state); evaluation and inference read the first alone.
"""

import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from dsbs_jax.errors import UserError
from dsbs_jax.local.state import TrainState

_PREFIX = "checkpoint"
SCORE = "score"
_STEP = "step"


def check_room(directory: pathlib.Path, abstract: TrainState) -> None:
    """Makes the folder and checks that it can be written and holds the checkpoints.

    Raises:
      UserError: the folder cannot be made or written, or the disk is too full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".write_probe"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"MODEL_DIR {directory}: cannot be written ({error.strerror})"
        ) from error
    # The last, the best and the one being written.
    _check_free(directory, 3, abstract)


def _check_free(directory: pathlib.Path, number: int, state: TrainState) -> None:
    """Checks that a number of checkpoints fits."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    needed, free = number * size, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"{directory}: {free / 2**20:,.1f} MiB free, expected at least "
            f"{needed / 2**20:,.1f} MiB for checkpoints"
        )


def any_in(directory: pathlib.Path) -> bool:
    """Whether a folder holds a checkpoint."""
    return any(directory.glob(f"{_PREFIX}_*/"))


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, directory: pathlib.Path) -> None:
        """Opens the folder, which need not exist."""
        keep = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(1),
                # Of equal scores, orbax would keep the latest.
                preservation_policy.BestN(
                    get_metric_fn=lambda metrics: (metrics[SCORE], -metrics[_STEP]),
                    n=1,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            directory.resolve(),
            item_handlers={
                "params": ocp.StandardCheckpointHandler(),
                "progress": ocp.StandardCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                step_prefix=_PREFIX,
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
        """The step with the best score, the earliest of equals, or None."""
        scores = {s: self.score(s) for s in self._manager.all_steps()}
        return max(sorted(scores), key=scores.get) if scores else None

    def score(self, step: int) -> float:
        """The validation score that was saved with a step."""
        return float(self._manager.metrics(step)[SCORE])

    def save(self, state: TrainState, score: float) -> None:
        """Writes a checkpoint; one that is cut off half-way is never seen again.

        Raises:
          UserError: it cannot be written.
        """
        # A disk that fills while orbax writes ends in hundreds of lines.
        _check_free(self._manager.directory, 1, state)
        progress = {"step": state.step, "opt_state": state.opt_state}
        try:
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    progress=ocp.args.StandardSave(progress),
                ),
                metrics={SCORE: float(score), _STEP: int(state.step)},
                force=True,
            )
            self._manager.wait_until_finished()
        # The disk is full or gone; which of these comes depends on who was writing.
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self._manager.directory}: the checkpoint of step {int(state.step)} "
                f"cannot be written: {' '.join(str(error).split())}; the ones before "
                "it are whole"
            ) from error

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads a whole state, each device its own part.

        Raises:
          UserError: the checkpoint is of another student.
        """
        self._check(step, abstract.params)
        progress = {"step": abstract.step, "opt_state": abstract.opt_state}
        read = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                progress=ocp.args.StandardRestore(progress),
            ),
        )
        return TrainState(params=read["params"], **read["progress"])

    def restore_params(self, step: int, abstract_params: Any) -> Any:
        """Reads the parameters alone.

        Raises:
          UserError: the checkpoint is of another student.
        """
        self._check(step, abstract_params)
        return self._manager.restore(
            step,
            args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract_params)),
        )["params"]

    def _check(self, step: int, expected: Any) -> None:
        found = self._manager.item_metadata(step)["params"]
        name = f"{self._manager.directory}/{_PREFIX}_{step}"
        check_shapes(name, shapes(found), shapes(expected))

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.close()


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Each parameter's path, parted by "/", and its shape."""
    tree = getattr(tree, "tree", tree)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join(str(getattr(key, "key", key)) for key in path): tuple(leaf.shape)
        for path, leaf in leaves
    }


def check_shapes(name: str, found: Mapping, expected: Mapping) -> None:
    """Compares a checkpoint's parameters with the student's.

    Raises:
      UserError: names the first parameter that differs, and both shapes.
    """
    for path in sorted(found.keys() | expected.keys()):
        there, here = found.get(path, "none"), expected.get(path, "none")
        if there != here:
            raise UserError(
                f"{name}: parameter {path} has shape {there}, expected {here}; it is "
                "the checkpoint of a student of another size"
            )


def open_path(path: str) -> tuple[Checkpoints, int]:
    """A run's folder, its `checkpoints` folder or one checkpoint in it.

    Args:
      path: a run's folder stands for its best checkpoint.

    Returns:
      The checkpoints and the step meant.

    Raises:
      UserError: no checkpoint stands there.
    """
    folder = pathlib.Path(path)
    match = re.fullmatch(rf"{_PREFIX}_(\d+)", folder.name)
    if match:
        folder = folder.parent
    elif (folder / "checkpoints").is_dir():
        folder = folder / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"checkpoint {path}: there is no such folder")
    checkpoints = Checkpoints(folder)
    step = int(match.group(1)) if match else checkpoints.best
    if step is None or not (folder / f"{_PREFIX}_{step}").is_dir():
        raise UserError(
            f"checkpoint {path}: expected {_PREFIX}_<step> folders, found none"
        )
    return checkpoints, step


def load_params(path: str, abstract_params: Any) -> Any:
    """Reads a student's parameters from a run, or from one of its checkpoints.

    Raises:
      UserError: no checkpoint stands there, or it is of another student.
    """
    checkpoints, step = open_path(path)
    params = checkpoints.restore_params(step, abstract_params)
    checkpoints.close()
    return params
