"""Which checkpoint of a folder is read, and how checkpoints are named."""

import json
import math
import re
from collections.abc import Iterator

from etils import epath

from dsbs_jax.weights import digests

# A checkpoint's folder is `checkpoint_<step>`, here and in T5X.
PREFIX = "checkpoint_"
# Key of the validation score in the metrics that are saved with a checkpoint.
SCORE = "score"


def candidates(folder: epath.Path) -> Iterator[epath.Path]:
    """Yields the folders that may be the checkpoint which `folder` means.

    These are the folder itself, the best checkpoint in it, and the best checkpoint in
    its `checkpoints/`.
    """
    yield folder
    for parent in (folder, folder / "checkpoints"):
        best = best_checkpoint(parent)
        if best is not None:
            yield best


def best_checkpoint(folder: epath.Path) -> epath.Path | None:
    """Returns the checkpoint with the best score; None without checkpoints.

    The highest score wins, and of equal scores the earliest checkpoint. Checkpoints
    without a score rank below the others, the newest first. Checkpoints that a run is
    still writing do not count.

    Raises:
        UserError: A score has changed since it was written.
    """
    if not folder.is_dir():
        return None
    ranked = []
    for entry in folder.iterdir():
        step = _step_of(entry)
        if step is None or not digests.is_complete(entry):
            continue
        checkpoint = folder / entry.name
        digests.check(checkpoint, "metrics")
        score = saved_score(checkpoint)
        rank = (-math.inf, step) if score is None else (score, -step)
        ranked.append((*rank, checkpoint))
    return max(ranked)[-1] if ranked else None


def _step_of(checkpoint: epath.Path) -> int | None:
    match = re.fullmatch(rf"{PREFIX}(\d+)", checkpoint.name)
    return int(match[1]) if match else None


def is_checkpoint(folder: epath.Path) -> bool:
    """Returns whether a folder has the name of a checkpoint."""
    return _step_of(folder) is not None


def saved_score(checkpoint: epath.Path) -> float | None:
    """Reads the validation score that this project saves with a checkpoint.

    Returns:
        The score in percent; None if the checkpoint has not been evaluated, or is not
        from this project.
    """
    try:
        metrics = json.loads(
            (checkpoint / "metrics/metrics").read_text(encoding="utf-8")
        )
        score = float(metrics[SCORE])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    # A checkpoint that is saved between two evaluations has the score -inf.
    return score if math.isfinite(score) else None
