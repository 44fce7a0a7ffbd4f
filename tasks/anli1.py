"""Adversarial NLI, round 1: premise, end-of-sequence token, hypothesis."""

from dsbs_jax.data import registration
from dsbs_jax.released.source import ReleasedSource

registration.register(
    "anli1",
    ReleasedSource("anli1", carved=False),
    teachers=("palm", "gpt_neox"),
    shuffle_buffer=16_946,
)
