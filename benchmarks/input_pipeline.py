"""How fast the input pipeline delivers batches: read, tokenized, mixed, cut and packed.

    python benchmarks/input_pipeline.py --release=datasets.zip --vocabulary=own.model

CommonsenseQA's training rows with PaLM's rationales, as `dsbs_jax.train` reads them,
without a student. Compare with the pairs a second of `throughput.py`.
"""

import argparse
import time


def parse() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", required=True, help="the authors' data")
    parser.add_argument("--vocabulary", required=True, help="a SentencePiece file")
    parser.add_argument("--pairs", type=int, default=16, help="pairs a batch")
    parser.add_argument("--batches", type=int, default=200, help="timed")
    parser.add_argument("--width", type=int, default=512, help="of the student: D")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Draws the batches and prints the rate."""
    import gin

    from dsbs_jax.data import features, registration
    from dsbs_jax.local import datasets, packing
    from dsbs_jax.released import reader as released

    gin.bind_parameter("student_vocabulary.path", options.vocabulary)
    read = released.open_release(options.release).read("cqa", "palm", None)
    splits = {name: split.records for name, split in read.items()}
    registration.register_records("bench", splits)
    lengths = {"inputs": 1024, "targets": 256, "task_ids": 256}
    config = datasets.DatasetConfig(
        "bench_teacher_step_by_step", lengths, 2 * options.pairs
    )
    batches = datasets.training_batches(config)
    began = time.perf_counter()
    next(batches)
    first = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(options.batches):
        packing.pack(next(batches), options.width // 2)
    seconds = time.perf_counter() - began
    ids = features.student_vocabulary().vocab_size
    print(
        f"{options.batches * options.pairs / seconds:,.0f} pairs/s, the first batch "
        f"after {first:.1f} s, {ids:,} ids"
    )


if __name__ == "__main__":
    main(parse())
