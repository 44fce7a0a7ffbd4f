"""The settings of a fit that a user can choose; the plan chooses all others."""

import dataclasses
from typing import Annotated

from msgspec import Meta

from dsbs_jax.data.data_config import Files
from dsbs_jax.data.methods import Method
from dsbs_jax.settings import (
    AnyPath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
    setting,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig(Settings):
    """Choices of a fit. None leaves a choice to the plan."""

    method: Method | None = setting(
        None,
        help="The training method. By default the rows decide: step_by_step if there "
        "are rationales, finetune if there are labels only.",
    )
    labels: tuple[Text, ...] | None = setting(
        None,
        help="The closed label set. By default it is detected; an empty list, [], "
        "allows any text.",
    )
    validation: Files | None = setting(
        None, help="Validation rows. By default 10 % of the inputs of DATA."
    )
    test: Files | None = setting(
        None,
        help="Test rows. By default 20 % of the inputs of DATA, or no rows if there "
        "are validation rows.",
    )
    validation_share: Annotated[float, Meta(gt=0, lt=1)] = setting(
        0.1, help="Share of the inputs in a validation split that fit makes."
    )
    test_share: Annotated[float, Meta(ge=0, lt=1)] = setting(
        0.2, help="Share of the inputs in a test split that fit makes."
    )
    split_seed: NonNegativeInt = setting(0, help="Seed of the splits that fit makes.")
    size: Text | None = setting(
        None,
        help="Size of a student without a checkpoint: tiny, small, base, … By default "
        "the number of rows decides.",
    )
    initial_checkpoint: AnyPath | None = setting(
        None,
        help="Weights to start from: a run folder, a T5X checkpoint, a Hugging Face "
        "folder, or 'hub:' and a repository such as hub:google/t5-v1_1-small.",
    )
    vocabulary: AnyPath | None = setting(
        None,
        help="SentencePiece model: a file or 'hub:' and a repository; or 'bytes', as "
        "for ByT5. By default that of the checkpoint, or one that is trained on the "
        "training rows.",
    )
    input_length: PositiveInt | None = setting(
        None, help="Tokens to which inputs are cut, end token included."
    )
    target_length: PositiveInt | None = setting(
        None,
        help="Tokens to which labels and rationales are cut, end token included.",
    )
    train_steps: PositiveInt | None = setting(None, help="Updates of the run.")
    batch_size: PositiveInt | None = setting(
        None, help="Rows of a batch, of all tasks together."
    )
    learning_rate: PositiveFloat | None = setting(None, help="Peak learning rate.")
    seed: NonNegativeInt = setting(
        0, help="Seed of initial weights, dropout and the order of examples."
    )
