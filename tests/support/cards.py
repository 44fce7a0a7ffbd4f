"""Voted examples, and a reader of the tables of a card."""

import re

from dsbs_jax.rationales import voting


def numbers():
    """Seven inputs of three samples: five right, one wrong, one without a label."""
    samples = [["even"] * 3, ["odd", "even", "odd"], ["even"] * 3, ["odd"] * 3]
    samples += [["even"] * 3, ["even", "even", "odd"]]
    examples = [
        voting.vote(
            str(n),
            f"What is {n}?",
            "even" if n % 2 == 0 else "odd",
            [f"{n} is {label}. So the answer is {label}." for label in labels],
        )
        for n, labels in enumerate(samples)
    ]
    unknown = voting.vote("6", "What is 6?", "even", ["I do not know."] * 3)
    return [*examples, unknown]


def table(text, first):
    """The rows of the Markdown table whose header begins with `first`."""
    (body,) = re.findall(
        rf"^\| {re.escape(first)} .*\n\| .*\n((?:\| .*\n)+)", text, re.M
    )
    lines = body.replace("\\", "").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
