"""The student's hyperparameters."""

import dataclasses

from dsbs_jax.errors import UserError

_ACTIVATIONS = {("relu",), ("gelu", "linear")}


@dataclasses.dataclass(frozen=True)
class T5Config:
    """A T5's shape; the fields are named as in T5X's `network.T5Config`.

    Raises:
        UserError: A field is out of its range.
    """

    # Rows of the embedding, at least the vocabulary's size with its sentinels.
    vocab_size: int
    # Width D of the residual stream.
    emb_dim: int
    # Attention heads H, and the width K of each; H * K need not be D.
    num_heads: int
    head_dim: int
    # Layers of either stack.
    num_encoder_layers: int
    num_decoder_layers: int
    # Width F of the MLP.
    mlp_dim: int
    # ("gelu", "linear") is v1.1's gated MLP, ("relu",) is v1.0's.
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    # v1.0 ties the output to the embedding and scales logits by D ** -0.5.
    logits_via_embedding: bool = False
    # Share of activations dropped in training, 0 to 1.
    dropout_rate: float = 0.1
    # Of activations; parameters are float32 always.
    dtype: str = "float32"
    # Whether layers are computed again in the backward pass instead of being kept:
    # less memory, about a third more work.
    remat: bool = False
    # Whether one layer is compiled for all of a stack: compiles in a fraction of the
    # time, and needs a second copy of the layers' parameters during a step.
    scan: bool = False
    # Buckets of the relative position bias, and the distance from which on positions
    # share the last one.
    relative_buckets: int = 32
    relative_max_distance: int = 128

    def __post_init__(self) -> None:
        """Checks every field."""
        object.__setattr__(self, "mlp_activations", tuple(self.mlp_activations))
        for name in (
            "vocab_size",
            "emb_dim",
            "num_heads",
            "head_dim",
            "num_encoder_layers",
            "num_decoder_layers",
            "mlp_dim",
        ):
            self._check(name, isinstance(getattr(self, name), int), "an integer")
            self._check(name, getattr(self, name) >= 1, "1 or more")
        self._check(
            "mlp_activations",
            self.mlp_activations in _ACTIVATIONS,
            "('gelu', 'linear') or ('relu',)",
        )
        self._check("dropout_rate", 0 <= self.dropout_rate < 1, "0 <= rate < 1")
        self._check(
            "dtype", self.dtype in ("float32", "bfloat16"), "'float32' or 'bfloat16'"
        )
        self._check(
            "relative_buckets",
            self.relative_buckets >= 4 and self.relative_buckets % 4 == 0,
            "a multiple of 4",
        )
        self._check(
            "relative_max_distance",
            self.relative_max_distance > self.relative_buckets,
            f"more than relative_buckets, {self.relative_buckets}",
        )

    def _check(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise UserError(
                f"T5Config.{name} is {getattr(self, name)!r}, expected {expected}"
            )
