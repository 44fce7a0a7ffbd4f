"""T5X's encoder-decoder model with the two-task objective."""

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
from dsbs_jax.student.config import check_vocabulary_size

# Feature of a microbatch that holds the global batch's token counts, float32 [B, 2].
TOKEN_COUNTS = "task_token_counts"
# T5X divides the loss by token counts for these metrics, as if the loss were a sum over
# tokens. The objective is a weighted sum of means, so the quotients mean nothing.
_TOKEN_SUM_METRICS = ("loss_per_nonpadding_target_token", "loss_per_all_target_tokens")


@flax.struct.dataclass
class TaskMean(clu_metrics.Average):
    """The mean loss over one task's tokens; 0 if the task has no token, never NaN."""

    def compute(self) -> jax.Array:
        """Returns the mean over everything that was merged, in nats per token."""
        return self.total / jnp.where(self.count > 0, self.count, 1)


def verify_vocabularies(
    cfg: utils.DatasetConfig, model: models.EncoderDecoderModel
) -> None:
    """Checks that the task and the model agree; T5X's `verify_matching_vocabs_fn`.

    T5X compares the vocabularies. This function also checks that the student has an
    embedding row for every id.

    Args:
        cfg: T5X's settings of the dataset.
        model: The model.

    Raises:
        UserError: The student has fewer embedding rows than the vocabulary has ids.
        ValueError: The vocabularies differ.
    """
    utils.verify_matching_vocabs(cfg, model)
    check_vocabulary_size(
        model.module.config.vocab_size, model.output_vocabulary.vocab_size
    )


class DistillationModel(models.EncoderDecoderModel):
    """T5X's encoder-decoder model, trained with the two-task objective.

    Decoding, scoring and the network are T5X's. The objective has no label smoothing
    and no z-loss, so these settings are rejected.
    """

    FEATURE_CONVERTER_CLS = DistillationFeatureConverter

    def __init__(self, *args: Any, alpha: float, **kwargs: Any) -> None:
        """Creates the model.

        Args:
            *args: Passed to `EncoderDecoderModel`.
            alpha: Weight of the label loss, 0 to 1.
            **kwargs: Passed to `EncoderDecoderModel`.

        Raises:
            UserError: `alpha` is out of range, or a term is set that the objective does
                not have.
        """
        objective.check_alpha(alpha)
        super().__init__(*args, **kwargs)
        if self._label_smoothing or self._z_loss or self._loss_normalizing_factor:
            raise UserError(
                "the objective has no label_smoothing, z_loss or "
                f"loss_normalizing_factor, found {self._label_smoothing}, "
                f"{self._z_loss} and {self._loss_normalizing_factor}; remove them"
            )
        self._alpha = alpha

    def loss_fn(
        self,
        params: Any,
        batch: Mapping[str, jax.Array],
        dropout_rng: jax.Array | None,
    ) -> tuple[jax.Array, t5x_metrics.MetricsMap]:
        """Computes the loss of a batch, or a microbatch's share of the global loss.

        Args:
            params: The student's parameters.
            batch: Int32 features, encoder [B, S] and decoder [B, T]. A microbatch also
                has `TOKEN_COUNTS`, float32 [B, 2]: the global batch's token counts,
                repeated in every row.
            dropout_rng: Random key of the dropout; None disables dropout.

        Returns:
            The loss, a scalar, and metrics that T5X merges over microbatches and steps.
        """
        logits = self._compute_logits(params, batch, dropout_rng)
        if TOKEN_COUNTS in batch:
            counts = batch[TOKEN_COUNTS][0]
        else:
            counts = objective.task_token_counts(batch["decoder_task_ids"])
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
        for name in _TOKEN_SUM_METRICS:
            del metrics[name]
        return loss, metrics | _task_metrics(shares, counts)


def _task_metrics(
    shares: Mapping[str, jax.Array], counts: jax.Array
) -> t5x_metrics.MetricsMap:
    """Builds the metrics of each task that merge to means over all tokens.

    Args:
        shares: Metrics of `objective.distillation_loss`, for a microbatch.
        counts: Float32 [2], the global batch's tokens of each task.
    """
    metrics: t5x_metrics.MetricsMap = {}
    for task, count in zip(("label", "rationale"), counts, strict=True):
        tokens = shares[f"{task}_tokens"]
        # share = sum of nats / global count, and the metric needs the sum.
        nats = shares[f"{task}_loss"] * jnp.where(count > 0, count, 1.0)
        metrics[f"{task}_loss"] = TaskMean(total=nats, count=tokens)
        metrics[f"{task}_tokens"] = t5x_metrics.AveragePerStep(total=tokens)
    return metrics
