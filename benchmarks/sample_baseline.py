"""Trains TF-IDF and logistic regression on a dataset, as a baseline of a student.

    pip install scikit-learn
    python benchmarks/sample_baseline.py --train=train.jsonl --test=test.jsonl

scikit-learn is not a dependency of the package. Rows without a label are not used.
Prints the accuracy on test with its 95 % interval, and the share of the majority class.
"""

import argparse
import collections
import json
import pathlib

from dsbs_jax.reports.proportion import Proportion

NGRAMS = {"words": (1, 1), "words and pairs of words": (1, 2)}


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for split in ("train", "test"):
        parser.add_argument(f"--{split}", required=True, help=f"{split} rows, JSONL")
    return parser.parse_args()


def read(path: str) -> tuple[list[str], list[str]]:
    """Reads the inputs and labels of the rows that have a label."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    rows = [row for row in rows if row.get("label") is not None]
    return [row["input"] for row in rows], [str(row["label"]) for row in rows]


def describe(name: str, count: int, total: int) -> str:
    """Returns a line: the name, the proportion and its interval, in percent."""
    share = Proportion(count, total)
    return f"{name}: {share.percent} ({share.percent_interval}), {count} of {total}"


def main(options: argparse.Namespace) -> None:
    """Trains each baseline and prints its accuracy."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    inputs, labels = read(options.train)
    test_inputs, test_labels = read(options.test)
    majority = collections.Counter(labels).most_common(1)[0][0]
    print(
        describe(f"always {majority!r}", test_labels.count(majority), len(test_labels))
    )
    for name, ngrams in NGRAMS.items():
        model = make_pipeline(
            TfidfVectorizer(ngram_range=ngrams, token_pattern=r"\w+"),
            LogisticRegression(max_iter=1000),
        )
        predictions = model.fit(inputs, labels).predict(test_inputs)
        right = int((predictions == test_labels).sum())
        print(describe(f"TF-IDF of {name}", right, len(test_labels)))


if __name__ == "__main__":
    main(parse_options())
