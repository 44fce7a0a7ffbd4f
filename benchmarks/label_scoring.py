"""Compares three ways to choose a label of a closed set.

    python benchmarks/label_scoring.py --inputs=64 --runs=3

The student is T5 v1.1 small with random weights. Labels and inputs are random token
ids, so hardly any two labels have a common prefix: a set of related names is faster.
"Each label alone" is one forward pass for each label. The difference is that of the two
methods' scores of a label. Prints a Markdown table.
"""

import argparse
import functools
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

from dsbs_jax.student.config import T5Config

# T5 v1.1 small, as in gin/sizes/small.gin.
SMALL = T5Config(
    vocab_size=32128,
    emb_dim=512,
    num_heads=6,
    head_dim=64,
    num_encoder_layers=8,
    num_decoder_layers=8,
    mlp_dim=1024,
    mlp_activations=("gelu", "linear"),
    logits_via_embedding=False,
    dropout_rate=0.0,
)
LABEL_TOKENS = 4  # without the end token
INPUT_TOKENS = 64


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--inputs", type=int, default=64, help="inputs of a batch")
    add("--runs", type=int, default=3, help="timed runs of each cell")
    add("--sizes", type=int, nargs="+", default=[2, 5, 20, 77], help="label sets")
    return parser.parse_args()


def seconds(run: Callable[[], Any], runs: int) -> float:
    """Returns the median time of a call after the first one, which compiles."""
    import jax

    jax.block_until_ready(run())
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(options: argparse.Namespace) -> None:
    """Times each method for each size of the set."""
    import flax.linen as nn
    import jax
    import numpy as np

    from dsbs_jax.student import decoding, label_scoring
    from dsbs_jax.student.network import Transformer

    model = Transformer(SMALL)
    one = np.ones((1, 2), np.int32)
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), one, one)["params"])
    rng = np.random.default_rng(0)
    inputs = rng.integers(3, 32000, (options.inputs, INPUT_TOKENS)).astype(np.int32)

    @jax.jit
    def forced(params: Any, label: jax.Array) -> Any:
        before = jax.numpy.pad(label[:-1], (1, 0))
        before = jax.numpy.tile(before, (len(inputs), 1))
        logits: Any = model.apply({"params": params}, inputs, before)
        chosen = jax.nn.log_softmax(logits)[:, np.arange(len(label)), label]
        return chosen.sum(axis=1)

    def greedy() -> Any:
        steps = LABEL_TOKENS + 1
        return decoding.greedy(model, params, inputs, steps, stop_at_eos=False)

    free = len(inputs) / seconds(greedy, options.runs)
    titles = ("label trees", "each label alone", "greedy, no label set")
    print("| labels | nodes |", " | ".join(titles), "| difference, nats |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in options.sizes:
        bodies = rng.integers(3, 32000, (size, LABEL_TOKENS)).tolist()
        labels = [[*body, 1] for body in bodies]
        trees = label_scoring.make_trees(labels, model.config, len(inputs))
        together = seconds(
            functools.partial(label_scoring.score_labels, model, params, inputs, trees),
            options.runs,
        )
        ids = np.asarray(labels, np.int32)
        alone = seconds(functools.partial(forced, params, ids[0]), options.runs) * size
        scores = label_scoring.score_labels(model, params, inputs, trees)
        gap = np.abs(scores[:, 0] - forced(params, ids[0])).max()
        chunks, nodes = trees.tokens.shape
        rates = (len(inputs) / together, len(inputs) / alone, free)
        cells = " | ".join(f"{rate:.1f}" for rate in rates)
        print(f"| {size} | {chunks} x {nodes} | {cells} | {gap:.0e} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nInputs per second. Peak memory of the process: {peak:.1f} GiB.")


if __name__ == "__main__":
    main(parse_options())
