"""Measures how fast the input pipeline delivers batches.

    python benchmarks/input_pipeline.py --release=datasets.zip --vocabulary=own.model

It reads, tokenizes, mixes, trims and packs CommonsenseQA's training rows with PaLM's
rationales, as `dsbs_jax.train` does, without a student. Compare the result with the
pairs per second of `throughput.py`.
"""

import argparse
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
    import gin

    from dsbs_jax.data import features, registration
    from dsbs_jax.local import datasets, packing
    from dsbs_jax.released import reader

    gin.bind_parameter("student_vocabulary.path", options.vocabulary)
    read = reader.open_release(options.release).read("cqa", "palm", None)
    splits = {name: split.records for name, split in read.items()}
    registration.register_records("bench", splits)
    lengths = {"inputs": 1024, "targets": 256, "task_ids": 256}
    config = datasets.DatasetConfig(
        "bench_teacher_step_by_step", lengths, 2 * options.pairs
    )
    batches = datasets.training_batches(config)
    start = time.perf_counter()
    next(batches)
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(options.batches):
        packing.pack(next(batches), options.width // 2)
    seconds = time.perf_counter() - start
    ids = features.student_vocabulary().vocab_size
    print(
        f"{options.batches * options.pairs / seconds:,.0f} pairs/s, the first batch "
        f"after {first:.1f} s, {ids:,} ids"
    )


if __name__ == "__main__":
    main(parse_options())
