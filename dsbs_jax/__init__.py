"""Distilling Step-by-Step on JAX (Hsieh et al. 2023, arXiv 2305.02301).

Axis letters used in every array docstring of this project:

    B  batch (rows)              D  model width (d_model, emb_dim)
    S  encoder (source) length   H  attention heads
    T  decoder (target) length   K  head width (head_dim)
    V  vocabulary rows           F  MLP width (mlp_dim)
    N  beams                     L  layers
"""

__version__ = "0.2.0"
