"""Writes a quality card: `python -m dsbs_jax.rationales.card …`."""

from dsbs_jax import settings
from dsbs_jax.rationales.card import command

command.define_flags()
settings.run(command.main)
