"""Counts parameters and floating-point operations of a T5 from its size alone."""

from dsbs_jax.student.sizes import Size

# Rows of the embedding of published checkpoints.
PUBLISHED_ROWS = 32_128


def parameter_count(size: Size, rows: int = PUBLISHED_ROWS) -> int:
    """Counts the parameters of a student.

    Args:
        size: Settings of `T5Config` by macro name.
        rows: Rows of the embedding, V.
    """
    width = size["EMB_DIM"]
    attention, mlp = _layer_weights(size)
    encoder, decoder = size["NUM_ENCODER_LAYERS"], size["NUM_DECODER_LAYERS"]
    weights = encoder * (attention + mlp) + decoder * (2 * attention + mlp)
    # A norm before each part of a layer, and one after each stack.
    weights += (2 * encoder + 3 * decoder + 2) * width
    # Relative position biases of each stack, or of each layer.
    biases = encoder + decoder if size.get("RELATIVE_BIAS_IN_LAYERS") else 2
    weights += biases * 32 * size["NUM_HEADS"]
    embeddings = 1 if size["LOGITS_VIA_EMBEDDING"] else 2
    return weights + embeddings * rows * width


def forward_operations(
    size: Size, source: float, target: float, rows: int = PUBLISHED_ROWS
) -> float:
    """Counts the operations of a forward pass over one row, without padding.

    Args:
        size: Settings of `T5Config` by macro name.
        source: Tokens of the input.
        target: Tokens of the target.
        rows: Rows of the embedding, V.
    """
    joined = size["NUM_HEADS"] * size["HEAD_DIM"]
    attention, mlp = _layer_weights(size)
    # Products with weights, and the two products of attention (scores, values).
    encoder_layer = source * (attention + mlp + 2 * source * joined)
    decoder_layer = target * (attention + mlp + 2 * target * joined)
    # Cross-attention: queries and output of target tokens, keys and values of source
    # tokens.
    decoder_layer += (2 * target + 2 * source) * size["EMB_DIM"] * joined
    decoder_layer += 2 * target * source * joined
    layers = size["NUM_ENCODER_LAYERS"] * encoder_layer
    layers += size["NUM_DECODER_LAYERS"] * decoder_layer
    return 2 * (layers + target * size["EMB_DIM"] * rows)


def training_operations(
    size: Size, source: float, target: float, rows: int = PUBLISHED_ROWS
) -> float:
    """Counts the operations of a forward and a backward pass over one row.

    The backward pass has twice the operations of the forward pass. The arguments are
    those of `forward_operations`.
    """
    return 3 * forward_operations(size, source, target, rows)


def _layer_weights(size: Size) -> tuple[int, int]:
    """Returns the weights of one attention, and of one MLP."""
    width, joined = size["EMB_DIM"], size["NUM_HEADS"] * size["HEAD_DIM"]
    gates = 1 + len(size["MLP_ACTIVATIONS"])
    return 4 * width * joined, gates * width * size["MLP_DIM"]
