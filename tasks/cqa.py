"""CommonsenseQA with the explanations of CoS-E v1.11: five choices, one answer."""

from dsbs_jax.data import registration
from dsbs_jax.released.source import ReleasedSource

registration.register(
    "cqa",
    ReleasedSource("cqa", carved=True),
    teachers=("palm", "gpt_neox"),
    shuffle_buffer=9_741,
)
