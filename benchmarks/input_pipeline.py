"""Measures how fast the input pipeline delivers batches.

    python benchmarks/input_pipeline.py --release=datasets.zip --vocabulary=own.model

It reads, tokenizes, mixes and trims CommonsenseQA's training rows with PaLM's
rationales and merges rows, as `dsbs_jax.train` does, without a student. Compare the
result with the pairs per second of `throughput.py`.
"""

import argparse
import functools
import time


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--release", required=True, help="the authors' data: datasets.zip or a folder")
    add("--vocabulary", required=True, help="a SentencePiece file")
    add("--pairs", type=int, default=16, help="pairs per batch")
    add("--batches", type=int, default=200, help="timed batches")
    add("--width", type=int, default=512, help="width D of the student")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Draws the batches and prints the rate."""
    from dsbs_jax.data import dataset_spec, mixtures, sources, vocabulary
    from dsbs_jax.data.data_config import DataConfig
    from dsbs_jax.local import datasets, row_merging
    from dsbs_jax.released import reader

    splits = reader.open_release(options.release).read("cqa", "palm")
    records = {name: split.records for name, split in splits.items()}
    spec = dataset_spec.user_dataset("bench")
    dataset_spec.register(spec)
    sources.register(
        spec.name, functools.partial(sources.RecordSource, records, spec.teachers[0])
    )
    words = vocabulary.load(options.vocabulary)
    lengths = {"inputs": 1024, "targets": 256, "task_ids": 256}
    config = DataConfig(
        dataset=spec.name, method="step_by_step", task_feature_lengths=lengths
    )
    data = mixtures.build(config, words)
    batches = datasets.training_batches(data, 2 * options.pairs, pack=False, seed=0)
    start = time.perf_counter()
    next(batches)
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(options.batches):
        row_merging.merge_rows(next(batches), options.width // 2)
    seconds = time.perf_counter() - start
    print(
        f"{options.batches * options.pairs / seconds:,.0f} pairs/s, the first batch "
        f"after {first:.1f} s, {words.vocab_size:,} ids"
    )


if __name__ == "__main__":
    main(parse_options())
