r"""Writes the quality card of a set of rationales, as Markdown and as HTML.

    python -m dsbs_jax.rationales.card --data_files=runs/teacher/rationales.jsonl \
        --output_dir=runs/card
    python -m dsbs_jax.rationales.card --release=datasets.zip --dataset=cqa \
        --output_dir=runs/card --min_words=5 --drop_disagreement

Reads the rows that an extraction kept (with its `filtered.jsonl`, `failed.jsonl` and
`report.json` in the same folder), a user's own rows, or the released data. The filters
run on rows without a file of dropped rows; an extraction has already run its own.
Writes `card.md`, `card.png` and `card.html`. The HTML page needs no other file.
"""

from dsbs_jax import cli
from dsbs_jax.rationales.card import making
from dsbs_jax.rationales.card.config import CardConfig


def main(config: CardConfig) -> None:
    """Writes the card and prints its headline and the path of the page."""
    written = making.make(config)
    print(written.headline)
    print(written.page)


cli.run_with_flags(main, CardConfig, __doc__)
