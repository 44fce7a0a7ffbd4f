"""Settings of a plan."""

import dataclasses
from typing import Literal

from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    NonNegativeInt,
    PositiveInt,
    Settings,
    Text,
    setting,
    settings_of,
)

# Settings that T5X's step does not have. LORA_TARGETS has no effect without LORA_RANK.
_LOCAL_ONLY = (
    "attention_queries",
    "optimizer",
    "trainable",
    "train_last_layers",
    "freeze_embedding",
    "lora_rank",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanConfig(Settings):
    """The run to plan.

    The settings of the student and of training are checked when the plan is made,
    because their types are in modules that import JAX, which `--help` must not wait
    for.

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
    parameter_partitioning_dims: Literal[1, 2] = setting(
        1,
        help="1 stores parameters and optimizer state in each copy; 2 spreads them "
        "over the copies.",
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
        "all but their products with weights, 'offload' the same with the products in "
        "the memory of the host, 'none' nothing.",
    )
    attention_queries: PositiveInt | None = setting(
        None,
        help="Number of queries whose attention weights are in memory at a time; by "
        "default all.",
    )
    scan_layers: bool = setting(
        False, help="Whether one layer is compiled for all layers of a stack."
    )
    optimizer: Text = setting(
        "adamw", help="The optimizer: 'adamw', 'adafactor' or 'lion'."
    )
    trainable: Text = setting(
        "all",
        help="The weights that are updated: 'all', those of the 'encoder' or those of "
        "the 'decoder'.",
    )
    train_last_layers: PositiveInt | None = setting(
        None, help="Layers at the end of each stack that are updated; None is all."
    )
    freeze_embedding: bool = setting(
        False, help="Whether the embedding of tokens is not updated."
    )
    lora_rank: NonNegativeInt = setting(
        0,
        help="Rank of adapters, which are updated instead of weights. 0 updates "
        "weights.",
    )
    lora_targets: tuple[Text, ...] = setting(
        ("query", "value"), help="The products of each layer that have an adapter."
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
        if self.engine != "t5x":
            return
        if self.step != "train":
            raise UserError(
                f"STEP is {self.step!r}, expected 'train' with ENGINE='t5x': only "
                "T5X's training step is compiled"
            )
        if self.remat == "offload":
            raise UserError(
                "REMAT is 'offload', expected 'none', 'dots' or 'full' with "
                "ENGINE='t5x': T5X stores nothing in the memory of the host"
            )
        defaults = {info.field: info for info in settings_of(PlanConfig)}
        for name in _LOCAL_ONLY:
            value, info = getattr(self, name), defaults[name]
            if value != info.default:
                raise UserError(
                    f"{info.macro} is {value!r}, expected {info.default!r} with "
                    "ENGINE='t5x': T5X's step is compiled with AdamW for all weights, "
                    "and computes all queries at once"
                )
