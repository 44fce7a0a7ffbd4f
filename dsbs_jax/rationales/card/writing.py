"""Writes a quality card: figures, plots and examples on one page."""

import os
import pathlib
from collections.abc import Mapping, Sequence

from dsbs_jax import files
from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.rationales import bias, filters, output_files, quality, texts, verdicts
from dsbs_jax.rationales.card import (
    bias_content,
    content,
    judge_content,
    plots,
    text_content,
)
from dsbs_jax.rationales.lengths import TokenLimits
from dsbs_jax.rationales.quality import Quality
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports import page

MARKDOWN = "card.md"
HTML = output_files.CARD
PICTURE = "card.png"


def write(
    folder: str | os.PathLike[str],
    examples: Sequence[VotedExample],
    result: filters.FilterResult,
    *,
    title: str = "Quality card",
    spec: DatasetSpec = dataset_spec.DEFAULT,
    limits: TokenLimits | None = None,
    failed: int = 0,
    facts: Mapping[str, object] | None = None,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    swapped: Sequence[VotedExample] | None = None,
) -> Quality:
    """Writes `card.png`, `card.md` and `card.html`, replacing existing ones.

    Args:
        folder: The folder to write to; it is created if it does not exist.
        examples: All voted examples.
        result: The examples that the filters kept and dropped.
        title: Title of the card.
        spec: The dataset, whose metric compares labels.
        limits: The student's limits; by default those of the dataset, in words.
        failed: Inputs without a voted example, because no reply came.
        facts: Facts about the rationales by name, such as the teacher's name. The
            current parser version is added, unless the facts hold the "parser version"
            that parsed the rows.
        columns: Columns whose values are groups of rows: for each column the value by
            id of the row.
        swapped: The teacher's answers to the same ids after terms were swapped.

    Returns:
        The figures of the card.

    Raises:
        OSError: A file cannot be written.
    """
    figures = quality.measure(examples, result, spec, limits, failed)
    picture = page.Picture(PICTURE, plots.draw(figures), "Plots of the figures below")
    facts = {"parser version": completions.PARSER_VERSION, **(facts or {})}
    blocks = [
        page.Paragraph(content.headline(figures)),
        picture,
        *content.sections(figures, result, facts),
        *judge_content.sections(verdicts.measure(result, spec.metric)),
        *bias_content.sections(bias.measure(examples, spec.metric, columns, swapped)),
        *text_content.sections(texts.measure(result.kept, spec.metric)),
        *content.example_sections(figures, result),
    ]
    folder = pathlib.Path(folder)
    files.write(folder / PICTURE, picture.content)
    files.write(folder / MARKDOWN, page.as_markdown(title, blocks))
    files.write(folder / HTML, page.as_html(title, blocks))
    return figures
