"""Writes a quality card: `python -m dsbs_jax.rationales.card …`."""

from dsbs_jax import cli
from dsbs_jax.rationales.card import command

command.define_flags()
cli.run(command.main)
