"""Settings of a plan."""

import dataclasses
from typing import Literal

from dsbs_jax.errors import UserError
from dsbs_jax.settings import NonNegativeInt, PositiveInt, Settings, Text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanConfig(Settings):
    """The run to plan.

    The student's settings are checked when it is created, because their types are in
    modules that import JAX, which `--help` must not wait for.

    Raises:
        UserError: A value has another type or is out of range.
    """

    size: Text = setting(help="Size of the student: small, base, large, xl, xxl, …")
    topology: Text = setting(
        help="TPU slice: v4, v5e, v5p or v6e, a colon, and the chips along each "
        "dimension, such as v4:2x2x4."
    )
    batch_size: PositiveInt = setting(
        128, help="Rows of a batch, of all tasks together."
    )
    input_length: PositiveInt = setting(128, help="Tokens of an input.")
    target_length: PositiveInt = setting(96, help="Tokens of a target.")
    max_decode_length: PositiveInt = setting(
        63, help="Longest prediction in tokens, for the program that decodes."
    )
    train_steps: PositiveInt = setting(10_000, help="Updates of the run.")
    num_partitions: PositiveInt = setting(
        1, help="Chips over which one copy of the student is spread."
    )
    num_microbatches: PositiveInt = setting(
        1, help="Parts of a batch that are computed one after another."
    )
    precision: Text = setting(
        "bfloat16", help="Types of the computation: float32, mixed or bfloat16."
    )
    remat: Text = setting(
        "none",
        help="What the backward pass computes again: 'full' complete layers, 'dots' "
        "all but their products with weights, 'none' nothing.",
    )
    scan_layers: bool = setting(
        False, help="Whether one layer is compiled for all layers of a stack."
    )
    search: NonNegativeInt = setting(
        0,
        help="Training steps to compile with other partitions, microbatches and REMAT; "
        "the plan is that of the best one. 0 compiles the given ones.",
    )
    step: Literal["train", "decode", "both"] = setting(
        "both", help="The programs to compile."
    )
    engine: Literal["local", "t5x"] = setting(
        "local",
        help="The engine whose programs are compiled. 't5x' needs T5X and "
        "--step=train; with --scan_layers it is T5X's scalable network.",
    )

    def __post_init__(self) -> None:
        """Checks every field."""
        super().__post_init__()
        if self.engine == "t5x" and self.step != "train":
            raise UserError(
                f"STEP is {self.step!r}, expected 'train' with ENGINE='t5x': only "
                "T5X's training step is compiled"
            )
