"""Which checkpoint of a folder is read, and how checkpoints are named."""

import json
import math
import re
from collections.abc import Iterator

from etils import epath

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
    """Returns the checkpoint with the best score; None for a folder without one.

    The highest score wins, and of equal scores the earliest checkpoint. Checkpoints
    without a score rank below the others, the newest first.
    """
    if not folder.is_dir():
        return None
    matches = [
        re.fullmatch(rf"{PREFIX}(\d+)", entry.name) for entry in folder.iterdir()
    ]
    ranked = []
    for step in (int(match[1]) for match in matches if match):
        checkpoint = folder / f"{PREFIX}{step}"
        score = saved_score(checkpoint)
        rank = (-math.inf, step) if score is None else (score, -step)
        ranked.append((*rank, checkpoint))
    return max(ranked)[-1] if ranked else None


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
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # A checkpoint that is saved between two evaluations has the score -inf.
    return score if math.isfinite(score) else None
