"""Distilling Step-by-Step on JAX (Hsieh et al. 2023, arXiv 2305.02301)."""

__version__ = "0.2.0"
