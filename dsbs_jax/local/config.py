"""Settings of training, evaluation and inference on this machine."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self

from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.data.methods import info_of
from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    AnyPath,
    Fraction,
    LocalPath,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
    from_values,
    setting,
    settings_of,
)
from dsbs_jax.student import lora
from dsbs_jax.student.config import T5Config


def check_microbatches(batch_size: int, num_microbatches: int) -> None:
    """Checks that a batch can be split into equal parts.

    Raises:
        UserError: The rows cannot be divided by the number of parts.
    """
    if batch_size % num_microbatches:
        raise UserError(
            f"BATCH_SIZE is {batch_size}, expected a multiple of "
            f"NUM_MICROBATCHES, {num_microbatches}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopConfig(Settings):
    """Training loop.

    Raises:
        UserError: A value is out of range, or the batch cannot be split into
            `num_microbatches` equal parts.
    """

    model_dir: LocalPath = setting(
        help="Folder of the run: checkpoints, predictions, scores and config.gin."
    )
    initial_checkpoint_path: AnyPath | None = setting(
        None,
        help="Weights to start from: a run folder (its best checkpoint), one "
        "checkpoint, a T5X checkpoint, a Hugging Face folder, or 'hub:' and a "
        "repository. None starts from random weights.",
    )
    alpha: Fraction = setting(
        help="Weight of the label loss; the rationale loss has weight 1 - ALPHA."
    )
    alpha_schedule: Literal["constant", "linear", "cosine"] = setting(
        "constant",
        help="Whether ALPHA stays constant, or changes to ALPHA_END at TRAIN_STEPS, "
        "linearly or along half a cosine.",
    )
    alpha_end: Fraction | None = setting(
        None, help="ALPHA at TRAIN_STEPS; needs a linear or cosine ALPHA_SCHEDULE."
    )
    explain_first_steps: NonNegativeInt = setting(
        0,
        help="Updates at the start whose batches have rationales only. The later ones "
        "have LABEL_RATE and RATIONALE_RATE.",
    )
    beta: NonNegativeFloat | None = setting(
        None,
        help="Weight of the cross-entropy between the pooled distributions of label "
        "and rationale, for mutual_information. None takes the method's, 0.1.",
    )
    batch_size: PositiveInt = setting(
        help="Rows of a batch, of all tasks together. With PACK, a row holds several "
        "examples."
    )
    train_steps: PositiveInt = setting(10_000, help="Updates of the run.")
    eval_period: PositiveInt = setting(
        500, help="Updates between two evaluations, each with a checkpoint."
    )
    log_period: PositiveInt = setting(
        50,
        help="Updates between two lines of progress, and between two entries of the "
        "trackers.",
    )
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = setting(
        ("tensorboard",),
        help="Where loss curves, scores and settings are written. 'wandb' and 'mlflow' "
        "need the extra of this name.",
    )
    patience: PositiveInt | None = setting(
        None,
        help="Evaluations without a better validation accuracy after which training "
        "stops early. None never stops early.",
    )
    num_microbatches: PositiveInt = setting(
        1,
        help="Parts of a batch that are computed one after another, to save memory. "
        "The gradient is that of the complete batch.",
    )
    parameter_partitioning_dims: Literal[1, 2] = setting(
        1,
        help="1 stores parameters and optimizer state in each copy of the student; 2 "
        "spreads them over the copies.",
    )
    pack: bool = setting(
        False,
        help="Whether SeqIO packs several examples into each row of the dataset, up to "
        "TASK_FEATURE_LENGTHS. BATCH_SIZE then counts packed rows.",
    )
    random_seed: NonNegativeInt = setting(
        0, help="Seed of initial weights, dropout and the order of examples."
    )

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        check_microbatches(self.batch_size, self.num_microbatches)
        if (self.alpha_schedule == "constant") != (self.alpha_end is None):
            wanted = "None" if self.alpha_schedule == "constant" else "0 to 1"
            raise UserError(
                f"ALPHA_END is {self.alpha_end}, expected {wanted}, because "
                f"ALPHA_SCHEDULE is {self.alpha_schedule!r}"
            )
        if self.explain_first_steps >= self.train_steps:
            raise UserError(
                f"EXPLAIN_FIRST_STEPS is {self.explain_first_steps}, expected less "
                f"than TRAIN_STEPS, {self.train_steps}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Settings):
    """Optimizer and learning rate."""

    optimizer: Literal["adamw", "adafactor", "lion"] = setting(
        "adamw",
        help="'adamw' clips gradients by their global norm first, as the released code "
        "does; 'adafactor' has T5's settings for finetuning; 'lion' clips like 'adamw' "
        "and holds half its state.",
    )
    schedule: Literal["linear", "cosine", "constant"] = setting(
        "linear",
        help="Learning rate after the warmup: decays to 0 at TRAIN_STEPS, linearly or "
        "along a cosine, or stays constant.",
    )
    learning_rate: NonNegativeFloat = setting(5e-5, help="Peak learning rate.")
    warmup_steps: NonNegativeInt = setting(
        0, help="Updates over which the learning rate rises linearly from 0."
    )
    adam_b1: Fraction = setting(0.9, help="Decay of AdamW's mean of gradients.")
    adam_b2: Fraction = setting(0.999, help="Decay of AdamW's mean of squares.")
    adam_eps: PositiveFloat = setting(1e-8, help="AdamW's epsilon.")
    lion_b1: Fraction = setting(
        0.9, help="Weight of Lion's mean of gradients in an update's sign."
    )
    lion_b2: Fraction = setting(0.99, help="Decay of Lion's mean of gradients.")
    weight_decay: NonNegativeFloat = setting(
        0.0, help="Weight decay of AdamW and Lion."
    )
    clip_norm: PositiveFloat = setting(
        1.0, help="Global norm to which the gradients of AdamW and Lion are clipped."
    )
    adafactor_decay_rate: PositiveFloat = setting(
        0.8, help="Exponent of the decay of Adafactor's second moments."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainableConfig(Settings):
    """Weights that training updates.

    Raises:
        UserError: A value is out of range, or LoRA is combined with weights to update.
    """

    trainable: Literal["all", "encoder", "decoder"] = setting(
        "all",
        help="The weights that are updated: all, those of the encoder, or those of the "
        "decoder with the output layer. Others keep their values and need no "
        "optimizer state.",
    )
    train_last_layers: PositiveInt | None = setting(
        None,
        help="Layers at the end of each stack that are updated, with the norm after "
        "them and the output layer. None updates all layers.",
    )
    freeze_embedding: bool = setting(
        False, help="Whether the embedding of tokens keeps its values."
    )
    lora_rank: NonNegativeInt = setting(
        0,
        help="Rank of the adapters (LoRA), which are updated instead of weights. 0 "
        "updates weights.",
    )
    lora_alpha: PositiveFloat = setting(
        16.0, help="The term of an adapter is multiplied by LORA_ALPHA / LORA_RANK."
    )
    lora_targets: tuple[lora.Target, ...] = setting(
        ("query", "value"), help="The products of each layer that have an adapter."
    )

    def __post_init__(self) -> None:
        """Checks the values."""
        super().__post_init__()
        if self.lora_rank and not self._updates_all_weights:
            raise UserError(
                f"LORA_RANK is {self.lora_rank}, which keeps all weights; expected "
                "TRAINABLE 'all', TRAIN_LAST_LAYERS None and FREEZE_EMBEDDING False"
            )

    @property
    def _updates_all_weights(self) -> bool:
        parts = self.trainable, self.train_last_layers, self.freeze_embedding
        return parts == ("all", None, False)

    @property
    def updates_all(self) -> bool:
        """Whether all weights are updated, and no adapters."""
        return self._updates_all_weights and not self.lora_rank

    @property
    def scale(self) -> float:
        """The factor of the adapters' term."""
        return self.lora_alpha / self.lora_rank if self.lora_rank else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingConfig(Settings):
    """Length of predictions, and search for them."""

    max_decode_length: PositiveInt = setting(
        63,
        help="Longest prediction in tokens. The paper's generation length of 64 counts "
        "the start token.",
    )
    num_beams: PositiveInt = setting(
        1, help="Beams of beam search; 1 decodes greedily."
    )
    length_penalty: NonNegativeFloat = setting(
        1.0,
        help="Beam search divides the log-probability of a sequence by its length to "
        "this power.",
    )
    batch_size: PositiveInt = setting(
        64, macro="EVAL_BATCH_SIZE", help="Rows that are decoded at a time."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitioningConfig(Settings):
    """Spread of the student over devices."""

    num_partitions: PositiveInt = setting(
        1,
        help="Devices over which one copy of the student is spread. The other devices "
        "hold further copies, and a batch is spread over the copies.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Settings):
    """Checkpoint of the trained student."""

    checkpoint_path: AnyPath = setting(
        help="Weights: a run folder (its best checkpoint), one checkpoint, a T5X "
        "checkpoint, a Hugging Face folder, or 'hub:' and a repository."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig(CheckpointConfig):
    """Split to score, and output folder."""

    eval_output_dir: LocalPath = setting(
        help="Folder to write: scores.json and the predictions of each task."
    )
    eval_split: Text = setting("test", help="Split to score.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InferConfig(CheckpointConfig):
    """Rows to answer, and output file."""

    input_file: AnyPath = setting(
        help="Rows with `input`, and optionally `id`, in a format of DATA_FILES. Other "
        "fields are copied."
    )
    output_file: LocalPath = setting(
        help="JSON lines to write: each row of INPUT_FILE with `predicted_label`, "
        "`log_probability`, for a closed label set `probabilities`, and with RATIONALE "
        "`predicted_rationale`."
    )
    rationale: bool = setting(
        False, help="Whether the student also generates a rationale for each input."
    )
    free_answers: bool = setting(
        False,
        help="Whether the student may answer with any text although the labels are a "
        "closed set, as in evaluation.",
    )
    rationale_length: PositiveInt = setting(
        255, help="Longest rationale of the explain task, in tokens."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """Settings that training, evaluation and inference share.

    Attributes:
        data: Examples and vocabulary.
        student: Settings of `T5Config` by macro name. Sizes that are not set come from
            the checkpoint.
        decoding: How predictions are decoded.
        partitioning: How the student is spread over devices.
    """

    data: DataConfig
    student: Mapping[str, Any]
    decoding: DecodingConfig = DecodingConfig()
    partitioning: PartitioningConfig = PartitioningConfig()

    @classmethod
    def from_macros(cls, values: Mapping[str, Any]) -> Self:
        """Builds the settings from macro values, such as those of gin files.

        Raises:
            UserError: A required setting is not set, or a value is wrong.
        """
        return cls(**cls._fields(values))

    @classmethod
    def _fields(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        names = [info.macro for info in settings_of(T5Config)]
        return {
            "data": from_values(DataConfig, values),
            "student": {name: values[name] for name in names if name in values},
            "decoding": from_values(DecodingConfig, values),
            "partitioning": from_values(PartitioningConfig, values),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings(PredictionSettings):
    """Everything that defines a training run.

    Attributes:
        loop: The training loop.
        optimizer: Optimizer and learning rate.
        trainable: The weights that are updated.
    """

    loop: LoopConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    trainable: TrainableConfig = TrainableConfig()

    @property
    def beta(self) -> float:
        """BETA, or else the method's."""
        if self.loop.beta is not None:
            return self.loop.beta
        return info_of(self.data.method).beta

    def __post_init__(self) -> None:
        """Checks that the examples are pairs of label and rationale if BETA is not 0.

        Raises:
            UserError: The method or the mixture has no pairs.
        """
        named = self.data.mixture_or_task_name
        if self.beta and not info_of(self.data.method).paired:
            raise UserError(
                f"BETA is {self.beta}, expected None for METHOD {self.data.method!r}; "
                "mutual_information uses it"
            )
        if self.beta and named is not None:
            raise UserError(
                f"MIXTURE_OR_TASK_NAME is {named!r}, expected None for METHOD "
                f"{self.data.method!r}, whose mixture has pairs"
            )

    def all_settings(self, student: T5Config) -> list[Settings]:
        """Returns every setting of the run; they are enough to repeat it.

        Args:
            student: The student, with the sizes that come from a checkpoint.
        """
        return [
            self.data,
            student,
            self.loop,
            self.optimizer,
            self.trainable,
            self.decoding,
            self.partitioning,
        ]

    @classmethod
    def _fields(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **super()._fields(values),
            "loop": from_values(LoopConfig, values),
            "optimizer": from_values(OptimizerConfig, values),
            "trainable": from_values(TrainableConfig, values),
        }


_SHARED = (DataConfig, T5Config, DecodingConfig, PartitioningConfig)
# The settings classes of each command.
TRAIN_SETTINGS = (LoopConfig, OptimizerConfig, TrainableConfig, *_SHARED)
EVAL_SETTINGS = (EvalConfig, *_SHARED)
INFER_SETTINGS = (InferConfig, *_SHARED)
