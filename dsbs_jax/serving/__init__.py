"""Engines that run a trained student without JAX."""
