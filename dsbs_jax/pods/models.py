"""T5X's encoder-decoder model with the objective of distilling step-by-step."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from t5x import metrics as t5x_metrics
from t5x import models, utils

from dsbs_jax.data.feature_converter import DistillationFeatureConverter
from dsbs_jax.errors import UserError
from dsbs_jax.student import objective

# The feature by which the trainer tells each microbatch what the whole batch holds.
TOKEN_COUNTS = "task_token_counts"
# What T5X computes besides, and what a sum over tokens alone would mean.
_SUMMED = ("loss_per_nonpadding_target_token", "loss_per_all_target_tokens")


@flax.struct.dataclass
class TaskMean(clu_metrics.Average):
    """A mean over one task's tokens; 0 where there was none, not NaN."""

    def compute(self) -> jax.Array:
        """The mean over all that was merged."""
        return self.total / jnp.maximum(self.count, 1)


def verify_vocabularies(
    cfg: utils.DatasetConfig, model: models.EncoderDecoderModel
) -> None:
    """T5X's check that task and model have one vocabulary, and that its ids fit.

    Args:
        cfg: Of the data.
        model: Whose table has to have a row for each id.

    Raises:
        UserError: The table has too few rows.
        ValueError: The vocabularies differ.
    """
    utils.verify_matching_vocabs(cfg, model)
    ids, table = model.output_vocabulary.vocab_size, model.module.config.vocab_size
    if table < ids:
        raise UserError(
            f"VOCAB_SIZE is {table}, expected at least the vocabulary's {ids} ids"
        )


class DistillationModel(models.EncoderDecoderModel):
    """T5X's model whose loss is the two-task objective.

    Decoding, scoring and the network are T5X's own. Label smoothing and z-loss are no
    part of this objective and cannot be set.
    """

    FEATURE_CONVERTER_CLS = DistillationFeatureConverter

    def __init__(self, *args: Any, alpha: float, **kwargs: Any) -> None:
        """Makes the model.

        Args:
            *args: As `EncoderDecoderModel` takes them.
            alpha: Weight of the label task, 0 to 1.
            **kwargs: As `EncoderDecoderModel` takes them.

        Raises:
            UserError: Alpha is out of its range, or a term is set that the objective
                does not have.
        """
        if not 0 <= alpha <= 1:
            raise UserError(f"ALPHA is {alpha}, expected 0 to 1")
        super().__init__(*args, **kwargs)
        if self._label_smoothing or self._z_loss or self._loss_normalizing_factor:
            raise UserError(
                "the objective has no label_smoothing, z_loss or "
                f"loss_normalizing_factor, found {self._label_smoothing}, "
                f"{self._z_loss} and {self._loss_normalizing_factor}"
            )
        self._alpha = alpha

    def loss_fn(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        dropout_rng: jax.Array | None,
    ) -> tuple[jax.Array, t5x_metrics.MetricsMap]:
        """The objective of a batch, or a microbatch's share of the whole batch's.

        Args:
            params: The student's.
            batch: Int32 features, [B, S] for the encoder's and [B, T] for the decoder's;
                a microbatch also has `TOKEN_COUNTS`, float32 [B, 2], the whole batch's
                counts in each row.
            dropout_rng: None runs without dropout.

        Returns:
            The loss, a scalar, and metrics that T5X merges over microbatches and steps.
        """
        logits = self._compute_logits(params, batch, dropout_rng)
        counts = batch.get(TOKEN_COUNTS)
        if counts is None:
            counts = objective.task_token_counts(batch["decoder_task_ids"])
        else:
            counts = counts[0]
        loss, shares = objective.distillation_loss(
            logits,
            batch["decoder_target_tokens"],
            batch["decoder_task_ids"],
            self._alpha,
            token_counts=counts,
        )
        metrics = self._compute_metrics(
            logits=logits,
            targets=batch["decoder_target_tokens"],
            mask=batch["decoder_loss_weights"],
            loss=loss,
        )
        for name in _SUMMED:
            del metrics[name]
        for task, count in zip(("label", "rationale"), counts, strict=True):
            tokens = shares[f"{task}_tokens"]
            metrics[f"{task}_loss"] = TaskMean(
                total=shares[f"{task}_loss"] * jnp.maximum(count, 1.0), count=tokens
            )
            metrics[f"{task}_tokens"] = t5x_metrics.AveragePerStep(total=tokens)
        return loss, metrics
