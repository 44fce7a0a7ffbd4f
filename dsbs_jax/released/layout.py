"""Names of the files of the release.

    <name>/<name>_{train,valid,test}.json       one JSON object on each line
    <name>/llm/{train,valid,test}_CoT_<k>.json  PaLM: JSON lists of completions, joined
                                                 in numeric order of k
    gpt-neox/<name>/{train,valid,test}.json     GPT-NeoX: one JSON list for each split

The folders are at the root of the release or in one folder below it
(google-research/distilling-step-by-step, `data_utils.py`).
"""

import re

from dsbs_jax.data.dataset_spec import PALM
from dsbs_jax.errors import UserError
from dsbs_jax.released import archives
from dsbs_jax.released.specs import RELEASED

GPT_NEOX_FOLDER = "gpt-neox"


class Layout:
    """The files of the release in a tree."""

    def __init__(self, tree: archives.Tree) -> None:
        """Finds the datasets.

        Raises:
            UserError: The tree holds none of the datasets.
        """
        self.tree = tree
        self.root = _find_root(tree)

    def rows_file(self, dataset: str, raw_split: str) -> str:
        """Returns the name of a raw split's row file."""
        return f"{self.root}{dataset}/{dataset}_{raw_split}.json"

    def completions_pattern(self, dataset: str, raw_split: str, teacher: str) -> str:
        """Returns the name of a teacher's files, with "*" for a number in the name."""
        if teacher == PALM:
            return f"{self.root}{dataset}/llm/{raw_split}_CoT_*.json"
        return f"{self.root}{GPT_NEOX_FOLDER}/{dataset}/{raw_split}.json"

    def completion_files(self, dataset: str, raw_split: str, teacher: str) -> list[str]:
        """Returns the names of a teacher's files that exist, in order.

        Raises:
            UserError: The numbers in the names have a gap.
        """
        pattern = self.completions_pattern(dataset, raw_split, teacher)
        if "*" not in pattern:
            return [pattern] if self.tree.is_file(pattern) else []
        folder, _, base = pattern.rpartition("/")
        numbered = re.compile(re.escape(base).replace(r"\*", "([0-9]{1,9})"))
        # By number, because "10" sorts before "2" as text.
        files = sorted(
            (int(match[1]), name)
            for name in self.tree.list(folder)
            if (match := numbered.fullmatch(name))
        )
        numbers = [number for number, _ in files]
        if numbers != list(range(len(numbers))):
            raise UserError(
                f"{dataset}: {self.tree.where(pattern)} are numbered {numbers}, "
                "expected 0, 1, 2, … without a gap"
            )
        return [f"{folder}/{name}" for _, name in files]

    def missing(self, dataset: str, raw_split: str, teacher: str | None) -> list[str]:
        """Returns the places of the missing files of a raw split."""
        names = []
        rows = self.rows_file(dataset, raw_split)
        if not self.tree.is_file(rows):
            names.append(rows)
        if teacher and not self.completion_files(dataset, raw_split, teacher):
            names.append(self.completions_pattern(dataset, raw_split, teacher))
        return [self.tree.where(name) for name in names]


def _find_root(tree: archives.Tree) -> str:
    """Returns the folder that holds the datasets: "" or "<folder>/"."""
    known = {*RELEASED, GPT_NEOX_FOLDER}
    top = tree.list("")
    if known.intersection(top):
        return ""
    folders = [folder for folder in top if known.intersection(tree.list(folder))]
    if len(folders) != 1:
        raise UserError(
            f"{tree.path}: expected folders named {', '.join(RELEASED)}, at the top or "
            f"in one folder below; found {', '.join(top[:8]) or 'nothing'}"
        )
    return f"{folders[0]}/"
