"""The published sizes of T5 by name, and three for CPUs: micro, tiny and mini.

mT5 and Flan-T5 have the sizes of T5 v1.1 (small to xxl). ByT5 and umT5 have their own.

The gin files of the same names in `gin/sizes` hold the same values, for runs that are
configured by gin.
"""

from collections.abc import Mapping
from typing import Any

from dsbs_jax.errors import UserError

# Settings of `T5Config` by macro name, as in a gin file of sizes/.
Size = Mapping[str, Any]


def _v1_1(emb: int, heads: int, layers: int, mlp: int, head_dim: int = 64) -> Size:
    return {
        "EMB_DIM": emb,
        "NUM_HEADS": heads,
        "HEAD_DIM": head_dim,
        "NUM_ENCODER_LAYERS": layers,
        "NUM_DECODER_LAYERS": layers,
        "MLP_DIM": mlp,
        "MLP_ACTIVATIONS": ("gelu", "linear"),
        "LOGITS_VIA_EMBEDDING": False,
    }


def _v1_0(emb: int, heads: int, layers: int, mlp: int, head_dim: int = 64) -> Size:
    return {
        **_v1_1(emb, heads, layers, mlp, head_dim),
        "MLP_ACTIVATIONS": ("relu",),
        "LOGITS_VIA_EMBEDDING": True,
    }


def _byt5(emb: int, heads: int, layers: int, mlp: int) -> Size:
    """ByT5, which reads bytes, has a decoder of a third of the encoder's layers."""
    return {
        **_v1_1(emb, heads, layers, mlp),
        "NUM_DECODER_LAYERS": layers // 3,
    }


def _umt5(emb: int, heads: int, layers: int, mlp: int) -> Size:
    return {**_v1_1(emb, heads, layers, mlp), "RELATIVE_BIAS_IN_LAYERS": True}


SIZES: Mapping[str, Size] = {
    "micro": _v1_1(32, 4, 2, 64, head_dim=8),
    "tiny": _v1_1(64, 4, 2, 128, head_dim=16),
    "mini": _v1_1(128, 4, 2, 256, head_dim=32),
    "small": _v1_1(512, 6, 8, 1024),
    "base": _v1_1(768, 12, 12, 2048),
    "large": _v1_1(1024, 16, 24, 2816),
    "xl": _v1_1(2048, 32, 24, 5120),
    "xxl": _v1_1(4096, 64, 24, 10240),
    "t5_1_0_small": _v1_0(512, 8, 6, 2048),
    "t5_1_0_base": _v1_0(768, 12, 12, 3072),
    "t5_1_0_large": _v1_0(1024, 16, 24, 4096),
    "t5_1_0_3b": _v1_0(1024, 32, 24, 16384, head_dim=128),
    "t5_1_0_11b": _v1_0(1024, 128, 24, 65536, head_dim=128),
    "byt5_small": _byt5(1472, 6, 12, 3584),
    "byt5_base": _byt5(1536, 12, 18, 3968),
    "byt5_large": _byt5(1536, 16, 36, 3840),
    "byt5_xl": _byt5(2560, 32, 36, 6720),
    "byt5_xxl": _byt5(4672, 64, 36, 12352),
    "umt5_small": _umt5(512, 6, 8, 1024),
    "umt5_base": _umt5(768, 12, 12, 2048),
    "umt5_xl": _umt5(2048, 32, 24, 5120),
    "umt5_xxl": _umt5(4096, 64, 24, 10240),
}


def size_of(name: str) -> Size:
    """Returns the settings of a size.

    Raises:
        UserError: No size has this name.
    """
    if name not in SIZES:
        raise UserError(f"size is {name!r}, expected one of {', '.join(SIZES)}")
    return SIZES[name]
