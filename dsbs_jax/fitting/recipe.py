"""Chooses size, batch, steps and learning rate from the number of training rows."""

import dataclasses
import math

from dsbs_jax.counts import counted

# Training rows from which a student without a checkpoint is T5 small.
_ROWS_FOR_SMALL = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a student is trained.

    Attributes:
        label_rows: Label examples in a batch. A two-task batch also has this number of
            rationales.
        train_steps: Updates of the run.
        eval_period: Updates between two evaluations on the validation split.
        patience: Evaluations without a better score after which training stops.
        learning_rate: Peak learning rate of AdamW.
        schedule: The schedule after the warmup.
        warmup_steps: Updates of the linear warmup.
        dropout_rate: Proportion of activations that are dropped.
        reason: The reason for the number of steps.
    """

    label_rows: int
    train_steps: int
    eval_period: int
    patience: int = 5
    learning_rate: float
    schedule: str
    warmup_steps: int
    dropout_rate: float
    reason: str


def choose_size(rows: int) -> tuple[str, str]:
    """Returns the size of a student without a checkpoint, and the reason."""
    if rows < _ROWS_FOR_SMALL:
        return "tiny", (
            f"random weights; {counted(rows, 'row is', 'rows are')} too few for more. "
            "Larger students start from published weights (initial_checkpoint)"
        )
    return "small", f"random weights and {rows:,} rows"


def choose(
    rows: int,
    pretrained: bool,
    size: str | None,
    steps: int | None,
    given_label_rows: int | None = None,
) -> Recipe:
    """Returns the recipe for a number of training rows.

    Random weights need many passes over few rows and a high learning rate. Published
    weights need few passes: the paper trains 10,000 steps at 5e-5 on up to 550,000
    rows.

    Args:
        rows: Training rows with a label.
        pretrained: Whether the training starts from a checkpoint.
        size: Name of the size, without a checkpoint.
        steps: The user's number of steps.
        given_label_rows: The user's number of label rows in a batch; the passes in the
            reason follow from it.
    """
    if pretrained:
        label_rows = 16 if rows < 2_000 else 32 if rows < 20_000 else 64
        train_steps = steps or _steps(rows, label_rows, passes=20, least=200)
        return Recipe(
            label_rows=label_rows,
            train_steps=train_steps,
            eval_period=_eval_period(train_steps),
            learning_rate=1e-4,
            schedule="linear",
            warmup_steps=train_steps // 20,
            dropout_rate=0.1,
            reason=_reason(train_steps, rows, given_label_rows or label_rows),
        )
    train_steps = steps or _steps(rows, 16, passes=20, least=600)
    return Recipe(
        label_rows=16,
        train_steps=train_steps,
        eval_period=_eval_period(train_steps),
        learning_rate=2e-3 if size == "tiny" else 5e-4,
        schedule="cosine",
        warmup_steps=train_steps // 6,
        dropout_rate=0.0 if size == "tiny" else 0.1,
        reason=_reason(train_steps, rows, given_label_rows or 16),
    )


def _steps(rows: int, label_rows: int, *, passes: int, least: int) -> int:
    """Returns the number of updates for some passes, from `least` to 10,000."""
    updates = passes * math.ceil(rows / label_rows)
    return min(max(round(updates, -2), least), 10_000)


def _eval_period(train_steps: int) -> int:
    """Returns a tenth of the updates, at least 100, and at most all updates."""
    return min(train_steps, max(100, train_steps // 10))


def _reason(steps: int, rows: int, label_rows: int) -> str:
    passes = steps * label_rows / rows
    return f"{float(f'{passes:.3g}'):,g} passes over {rows:,} rows"
