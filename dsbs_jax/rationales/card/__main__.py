"""Writes a quality card: `python -m dsbs_jax.rationales.card --help`."""

from dsbs_jax.rationales.card import command

command.run()
