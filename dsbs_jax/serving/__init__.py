"""Engines that answer with a trained student outside of JAX."""
