"""Orbax checkpoints: the last one to go on from, and the best on validation.

`<directory>/checkpoint_<step>/` holds the items `params` and `progress` (step and
optimiser state); evaluation and inference read the first alone.
"""

import hashlib
import json
import math
import pathlib
import re
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import traverse_util
from orbax.checkpoint.checkpoint_managers import preservation_policy

from dsbs_jax import files, weights
from dsbs_jax.errors import UserError
from dsbs_jax.local.state import TrainState
from dsbs_jax.weights import orbax_format
from dsbs_jax.weights.checkpoint_folders import PREFIX, SCORE

# Saved on the way to an evaluation.
UNSCORED = -math.inf
_STEP = "step"


def check_room(directory: pathlib.Path, abstract: TrainState) -> None:
    """Makes the folder and checks that it can be written and holds the checkpoints.

    Raises:
        UserError: The folder cannot be made or written, or the disk is too full.
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
    # The last two, the best and the one being written.
    _check_free(directory, 4, abstract)


def _check_free(directory: pathlib.Path, number: int, state: TrainState) -> None:
    """Checks that a number of checkpoints fits."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    needed, free = number * size, shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"{directory}: {free / 2**20:,.1f} MiB free, expected at least "
            f"{needed / 2**20:,.1f} MiB for checkpoints"
        )


def newest_whole(directory: pathlib.Path) -> int | None:
    """The newest step whose files are as they were written, or None.

    What is damaged is said, and set aside as `damaged_checkpoint_<step>`.
    """
    found = [re.fullmatch(rf"{PREFIX}(\d+)", p.name) for p in directory.glob("*")]
    for step in sorted((int(match[1]) for match in found if match), reverse=True):
        folder = directory / f"{PREFIX}{step}"
        problem = _damage(folder)
        if problem is None:
            return step
        aside = directory / f"damaged_{folder.name}"
        print(f"{folder} is damaged ({problem}): set aside as {aside.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    return None


def _damage(folder: pathlib.Path) -> str | None:
    path = _digests_of(folder)
    if not path.exists():
        # Killed between a checkpoint's last byte and its digests.
        return None
    try:
        expected = json.loads(path.read_text())
    except ValueError:
        return f"{path} is no JSON"
    found = digests(folder)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected.get(name):
            return f"{name} is not what was written"
    return None


def _digests_of(folder: pathlib.Path) -> pathlib.Path:
    return folder.parent / "digests" / f"{folder.name}.json"


def digests(folder: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in it."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(folder))] = digest
    return found


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, directory: pathlib.Path) -> None:
        """Opens the folder, which need not exist."""
        keep = preservation_policy.AnyPreservationPolicy(
            [
                # Should the last be damaged, there is one before it.
                preservation_policy.LatestN(2),
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
        """The step with the best score, the earliest of equals, or None."""
        scores = {s: self.score(s) for s in self._manager.all_steps()}
        return max(sorted(scores), key=scores.get) if scores else None

    def best_or(self, step: int) -> int:
        """The best step, or where nothing is saved this one."""
        return step if self.best is None else self.best

    def score(self, step: int) -> float:
        """The validation score that was saved with a step."""
        return float(self._manager.metrics(step)[SCORE])

    def is_scored(self, step: int) -> bool:
        """Whether a step was saved after its evaluation, not on the way to it."""
        return step in self._manager.all_steps() and self.score(step) != UNSCORED

    def save(self, state: TrainState, score: float = UNSCORED) -> None:
        """Writes a checkpoint; one that is cut off half-way is never seen again.

        Args:
            state: What is saved, in the place of an unscored one of the same step.
            score: On validation; the higher the better.

        Raises:
            UserError: It cannot be written.
        """
        # A disk that fills while orbax writes ends in hundreds of lines.
        _check_free(self._manager.directory, 1, state)
        progress = {"step": state.step, "opt_state": state.opt_state}
        try:
            if int(state.step) in self._manager.all_steps():
                self._manager.delete(int(state.step))
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
            self._write_digests(int(state.step))
        # The disk is full or gone; which of these comes depends on who was writing.
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self._manager.directory}: the checkpoint of step {int(state.step)} "
                f"cannot be written: {' '.join(str(error).split())}; the ones before "
                "it are whole"
            ) from error

    def _write_digests(self, step: int) -> None:
        folder = pathlib.Path(self._manager.directory, f"{PREFIX}{step}")
        path = _digests_of(folder)
        files.write(path, json.dumps(digests(folder), indent=1))
        for old in path.parent.iterdir():
            if not (folder.parent / old.stem).exists():
                old.unlink()

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Reads a whole state, each device its own part.

        Raises:
            UserError: The checkpoint is of another student.
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
            UserError: The checkpoint is of another student.
        """
        self._check(step, abstract_params)
        return self._manager.restore(
            step,
            args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract_params)),
        )["params"]

    def _check(self, step: int, expected: Any) -> None:
        checkpoint = self._manager.directory / f"{PREFIX}{step}"
        reader = orbax_format.open_item(checkpoint / "params", prefix=())
        flat = traverse_util.flatten_dict(expected, sep="/")
        shapes = {path: leaf.shape for path, leaf in flat.items()}
        weights.check_shapes(reader.location, reader.shapes(), shapes)

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.close()
