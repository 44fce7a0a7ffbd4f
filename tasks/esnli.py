"""e-SNLI: premise, end-of-sequence token, hypothesis. Written shuffled, being large."""

from dsbs_jax.data import registration
from dsbs_jax.released.source import ReleasedSource

registration.register(
    "esnli", ReleasedSource("esnli", carved=False), teachers=("palm", "gpt_neox")
)
