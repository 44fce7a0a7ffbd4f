"""Exact log-probabilities of every label of a closed set, without decoding.

The prefixes of all labels form a tree. One pass of the decoder computes every node of
the tree for a batch of inputs, so a prefix that several labels share is computed once.

Beyond the letters in docs/style.md: A labels of the set, C chunks of the set, G labels
of a chunk, M nodes of a chunk's tree.
"""

import bisect
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from dsbs_jax.student.config import T5Config
from dsbs_jax.student.layers import relative_buckets
from dsbs_jax.student.network import Transformer

# Most bytes of a chunk's float32 logits, [B, M, V]. A chunk has one label at least.
LOGIT_BYTES = 512 * 2**20

# Token ids of a label with the end token, or of a prefix.
_Ids = tuple[int, ...]


class LabelTrees(NamedTuple):
    """A closed label set as trees of prefixes, one tree for each chunk of labels.

    The labels [5 9 1], [5 7 1] and [8 1] give a tree of five nodes:

        prefix      ()  (5)  (5 7)  (5 9)  (8)
        tokens       0   5     7      9     8
        [5 9 1]: its tokens are predicted by nodes 0, 1, 3
        [8 1]:   its tokens are predicted by nodes 0, 4

    Attributes:
        tokens: Last token of each prefix, int32 [C, M].
        ancestors: Bool [C, M, M], as for `Transformer.tree_logits`.
        position_buckets: Int32 [C, M, M].
        nodes: The node that predicts each token of a label, int32 [C, G, T].
        targets: The token that it predicts, int32 [C, G, T]; 0 is padding.
        places: The place of each label in the chunks, as an index into C * G, int32
            [A].
    """

    tokens: np.ndarray
    ancestors: np.ndarray
    position_buckets: np.ndarray
    nodes: np.ndarray
    targets: np.ndarray
    places: np.ndarray


def make_trees(
    labels: Sequence[Sequence[int]], config: T5Config, batch_size: int
) -> LabelTrees:
    """Builds the trees of a label set.

    Args:
        labels: Token ids of each label, with the end token, without padding. No two
            labels are equal.
        config: The student.
        batch_size: B, the inputs of a batch. A larger batch gets smaller chunks, so
            that a chunk's logits have at most `LOGIT_BYTES`.
    """
    # Sorted, so that labels with a common prefix are in the same chunk.
    ordered = sorted(tuple(label) for label in labels)
    most = max(1, LOGIT_BYTES // (4 * batch_size * config.vocab_size))
    count = len(_chunks(ordered, most))
    # Every chunk is padded to the size of the largest one, so the sizes are balanced.
    size = 1 + bisect.bisect_left(
        range(1, most), True, key=lambda size: len(_chunks(ordered, size)) <= count
    )
    chunks = _chunks(ordered, size)
    prefixes = [sorted({p for label in c for p in _prefixes(label)}) for c in chunks]
    size = max(map(len, prefixes))
    trees = [_tree(names, size, config) for names in prefixes]
    tokens, ancestors, buckets = map(np.stack, zip(*trees, strict=True))
    nodes, targets = _targets(chunks, prefixes)
    padded = targets.shape[1]
    places = {
        label: padded * c + g
        for c, chunk in enumerate(chunks)
        for g, label in enumerate(chunk)
    }
    order = np.asarray([places[tuple(label)] for label in labels], np.int32)
    return LabelTrees(tokens, ancestors, buckets, nodes, targets, order)


def _prefixes(label: _Ids) -> list[_Ids]:
    """Returns the prefixes that predict a label: [5 9 1] -> (), (5), (5 9)."""
    return [label[:length] for length in range(len(label))]


def _chunks(labels: Sequence[_Ids], size: int) -> list[list[_Ids]]:
    """Splits sorted labels into chunks whose trees have at most `size` nodes.

    A label that needs more nodes is a chunk of its own.
    """
    chunks: list[list[_Ids]] = []
    nodes: set[_Ids] = set()
    for label in labels:
        prefixes = _prefixes(label)
        if not chunks or len(nodes) + sum(p not in nodes for p in prefixes) > size:
            chunks.append([])
            nodes = set()
        chunks[-1].append(label)
        nodes.update(prefixes)
    return chunks


def _targets(
    chunks: Sequence[Sequence[_Ids]], prefixes: Sequence[Sequence[_Ids]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nodes and targets of `LabelTrees`, each int32 [C, G, T].

    Args:
        chunks: The labels of each chunk.
        prefixes: The prefixes of each chunk, in the order of the nodes.
    """
    longest = max(len(label) for chunk in chunks for label in chunk)
    shape = (len(chunks), max(map(len, chunks)), longest)
    nodes, targets = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for c, (chunk, names) in enumerate(zip(chunks, prefixes, strict=True)):
        index = {prefix: node for node, prefix in enumerate(names)}
        for g, label in enumerate(chunk):
            nodes[c, g, : len(label)] = [index[p] for p in _prefixes(label)]
            targets[c, g, : len(label)] = label
    return nodes, targets


def _tree(
    prefixes: Sequence[_Ids], size: int, config: T5Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the tokens, ancestors and position buckets of a tree with `size` nodes.

    Nodes after the prefixes are padding, which attends to itself only.
    """
    tokens, depths = np.zeros(size, np.int32), np.zeros(size, np.int32)
    ancestors = np.eye(size, dtype=bool)
    index = {prefix: node for node, prefix in enumerate(prefixes)}
    for node, prefix in enumerate(prefixes):
        tokens[node] = prefix[-1] if prefix else 0
        depths[node] = len(prefix)
        ancestors[node, [index[shorter] for shorter in _prefixes(prefix)]] = True
    buckets = relative_buckets(
        depths[:, None] - depths[None, :],
        bidirectional=False,
        buckets=config.relative_buckets,
        max_distance=config.relative_max_distance,
    )
    return tokens, ancestors, buckets


@functools.partial(jax.jit, static_argnames="model")
def score_labels(
    model: Transformer,
    params: Any,
    encoder_input_tokens: jax.Array,
    trees: LabelTrees,
) -> jax.Array:
    """Computes the log-probability of each label for each input.

    It is the sum over the label's tokens, with the end token, of their
    log-probabilities given the input and the label's tokens before them: the value that
    teacher forcing of the label alone computes.

    Args:
        model: The student.
        params: The student's parameters.
        encoder_input_tokens: Int32 [B, S], 0 is padding.
        trees: The label set, made with the student's config.

    Returns:
        float32 [B, A], in nats.
    """
    encoded = model.apply(
        {"params": params}, encoder_input_tokens, method=Transformer.encode
    )

    def score_chunk(chunk: tuple[jax.Array, ...]) -> jax.Array:
        tokens, ancestors, buckets, nodes, targets = chunk
        logits = model.apply(
            {"params": params},
            encoded,
            encoder_input_tokens,
            tokens,
            ancestors,
            buckets,
            method=Transformer.tree_logits,
        )
        # `apply` returns what the method returns, but Flax types it as variables.
        return _sums(cast(jax.Array, logits), nodes, targets)

    # One chunk after another, so that the logits of one chunk exist at a time.
    scores = jax.lax.map(score_chunk, trees[:-1])
    scores = jnp.moveaxis(scores, 0, 1).reshape(len(encoder_input_tokens), -1)
    return scores[:, trees.places]


def _sums(logits: jax.Array, nodes: jax.Array, targets: jax.Array) -> jax.Array:
    """Sums the log-probabilities of each label's tokens.

    Args:
        logits: Float32 [B, M, V].
        nodes: Int32 [G, T].
        targets: Int32 [G, T].

    Returns:
        float32 [B, G].
    """
    totals = jax.nn.logsumexp(logits, axis=-1)
    log_probabilities = logits[:, nodes, targets] - totals[:, nodes]
    return jnp.sum(log_probabilities, axis=-1, where=targets > 0)
