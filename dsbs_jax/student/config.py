"""Settings of the student: its size and how it is computed."""

import dataclasses
from typing import Annotated, Literal

from msgspec import Meta

from dsbs_jax.errors import UserError
from dsbs_jax.settings import PositiveInt, Settings, setting
from dsbs_jax.student.precision import ComputeTypes, Precision, compute_types

# T5 v1.1's gated MLP, and T5 v1.0's.
_ACTIVATIONS = {("gelu", "linear"), ("relu",)}
# What a layer's backward pass computes again.
Remat = Literal["none", "dots", "offload", "full"]
_SIZE = "set by sizes/*.gin, or read from the checkpoint"
# The fields that a checkpoint determines; the others are chosen for each run.
SIZE_FIELDS = (
    "vocab_size",
    "emb_dim",
    "num_heads",
    "head_dim",
    "num_encoder_layers",
    "num_decoder_layers",
    "mlp_dim",
    "mlp_activations",
    "logits_via_embedding",
    "relative_bias_in_layers",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config(Settings):
    """Size and computation of a T5; fields are named as in T5X's `network.T5Config`.

    Attributes:
        relative_buckets: Buckets of the relative position bias.
        relative_max_distance: Distance in tokens from which all positions share the
            last bucket.

    Raises:
        UserError: A field has another type or is out of range.
    """

    vocab_size: PositiveInt = setting(
        help="V, rows of the embedding: at least the vocabulary's ids with sentinels.",
        unset="read from the checkpoint, or counted from the vocabulary",
    )
    emb_dim: PositiveInt = setting(help="D, width of the model.", unset=_SIZE)
    num_heads: PositiveInt = setting(help="H, attention heads.", unset=_SIZE)
    head_dim: PositiveInt = setting(
        help="K, width of a head; NUM_HEADS * HEAD_DIM may differ from EMB_DIM.",
        unset=_SIZE,
    )
    num_encoder_layers: PositiveInt = setting(
        help="Layers of the encoder.", unset=_SIZE
    )
    num_decoder_layers: PositiveInt = setting(
        help="Layers of the decoder.", unset=_SIZE
    )
    mlp_dim: PositiveInt = setting(help="F, width of the MLP.", unset=_SIZE)
    mlp_activations: tuple[str, ...] = setting(
        help="('gelu', 'linear') for the gated MLP of T5 v1.1, ('relu',) for T5 v1.0.",
        unset=_SIZE,
    )
    logits_via_embedding: bool = setting(
        help="Whether the output layer is the embedding, scaled by EMB_DIM ** -0.5 "
        "(T5 v1.0), instead of weights of its own (T5 v1.1).",
        unset=_SIZE,
    )
    relative_bias_in_layers: bool = setting(
        False,
        help="Whether every layer has its own relative position bias (umT5), instead "
        "of one for all layers of a stack (T5, mT5, ByT5).",
    )
    dropout_rate: Annotated[float, Meta(ge=0, lt=1)] = setting(
        0.1, help="Proportion of activations that training drops."
    )
    lora_dropout: Annotated[float, Meta(ge=0, lt=1)] = setting(
        0.0, help="Proportion of the inputs of adapters that training drops."
    )
    precision: Precision = setting(
        "float32",
        help="Types of the computation: 'mixed' rounds the factors of products to "
        "bfloat16, 'bfloat16' all activations; parameters are always float32.",
    )
    remat: Remat | bool = setting(
        "none",
        help="What the backward pass computes again instead of storing it, to save "
        "memory: 'full' complete layers, 'dots' all but their products with weights, "
        "'offload' the same, with the products in the memory of the host, 'none' "
        "nothing. True means 'full', False means 'none'.",
    )
    scan: bool = setting(
        False,
        macro="SCAN_LAYERS",
        help="Whether one layer is compiled for all layers of a stack, which shortens "
        "compilation. The state of a training then has one array for all layers.",
    )
    attention_queries: PositiveInt | None = setting(
        None,
        help="Number of queries whose attention weights are in memory at a time. This "
        "saves memory with long inputs; the backward pass computes the weights again. "
        "None computes all queries at once.",
    )
    relative_buckets: int = 32
    relative_max_distance: int = 128

    @property
    def remat_policy(self) -> Remat:
        """What a layer's backward pass computes again."""
        if isinstance(self.remat, bool):
            return "full" if self.remat else "none"
        return self.remat

    @property
    def types(self) -> ComputeTypes:
        """Types of the computation on JAX's default device."""
        return compute_types(self.precision)

    @property
    def dtype(self) -> str:
        """Type of the activations."""
        return self.types.activations

    def __post_init__(self) -> None:
        """Checks every field."""
        super().__post_init__()
        if self.mlp_activations not in _ACTIVATIONS:
            raise UserError(
                f"MLP_ACTIVATIONS is {self.mlp_activations}, expected "
                "('gelu', 'linear') or ('relu',)"
            )
        # Half of the buckets are for each direction in the encoder, and half of those
        # hold one distance each.
        if self.relative_buckets < 4 or self.relative_buckets % 4:
            raise UserError(
                f"relative_buckets is {self.relative_buckets}, expected a positive "
                "multiple of 4"
            )
        if self.relative_max_distance <= self.relative_buckets:
            raise UserError(
                f"relative_max_distance is {self.relative_max_distance}, expected more "
                f"than relative_buckets, {self.relative_buckets}"
            )


def check_vocabulary_size(rows: int, ids: int) -> None:
    """Checks that the embedding has a row for every id of the vocabulary.

    Args:
        rows: V, rows of the embedding.
        ids: The vocabulary's ids, sentinels included.

    Raises:
        UserError: There are more ids than rows.
    """
    if rows < ids:
        raise UserError(
            f"VOCAB_SIZE is {rows}, expected at least the vocabulary's {ids} ids"
        )
