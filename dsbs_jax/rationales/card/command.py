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

import dataclasses
import importlib
import pathlib

from dsbs_jax import cli
from dsbs_jax.data import dataset_spec
from dsbs_jax.data.dataset_spec import FeatureLengths
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import card, lengths
from dsbs_jax.rationales.card import content, inputs
from dsbs_jax.rationales.card.inputs import RationaleSet
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.rationales.lengths import TokenLimits
from dsbs_jax.settings import PositiveInt, Settings, Text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig(Settings):
    """The rationales to judge."""

    data_files: Text | None = setting(
        None, help="JSONL file of rows with rationales; or give --release."
    )
    filtered_file: Text | None = setting(
        None,
        help="JSONL file of dropped rows; by default filtered.jsonl in the folder of "
        "--data_files, if there is one.",
    )
    release: Text | None = setting(
        None, help="Folder or zip file of the released data; needs --dataset."
    )
    dataset: Text | None = setting(
        None,
        help="Dataset whose metric compares labels; by default that of the "
        "extraction's report.json, or 'default', which compares text.",
    )
    dataset_module: Text | None = setting(
        None, help="Python module that registers the spec of your own --dataset."
    )
    teacher: Text = setting(
        dataset_spec.PALM, help="Teacher of the released completions."
    )
    split: Text = setting(
        "train", help="Split of the released files: train, valid or test."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardConfig(FilterConfig, SourceConfig):
    """Settings of the command: the rationales, the filters and the student's limits."""

    vocabulary_path: Text | None = setting(
        None,
        help="SentencePiece model of the student; without it lengths are in words.",
    )
    inputs_length: PositiveInt | None = setting(
        None, help="Longest input of the student in tokens; by default the dataset's."
    )
    targets_length: PositiveInt | None = setting(
        None, help="Longest target of the student in tokens; by default the dataset's."
    )
    output_dir: Text = setting(help="Folder to write the card to.")

    def __post_init__(self) -> None:
        """Checks that exactly one source is given."""
        super().__post_init__()
        if bool(self.data_files) == bool(self.release):
            raise UserError("give either --data_files, or --release and --dataset")
        if self.release and not self.dataset:
            raise UserError("--release needs --dataset")


def main(config: CardConfig) -> None:
    """Writes the card and prints its headline and the path of the page."""
    if config.dataset_module:
        _import(config.dataset_module)
    rationales, title = _read(config)
    figures = card.write(
        config.output_dir,
        rationales.examples,
        rationales.result,
        title=f"Quality card: {title}",
        spec=rationales.spec,
        limits=_limits(config, rationales.spec.feature_lengths),
        failed=rationales.failed,
        facts=rationales.facts,
    )
    print(content.headline(figures))
    print(pathlib.Path(config.output_dir) / card.HTML)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"DATASET_MODULE is {module!r}: {error}") from error


def _read(config: CardConfig) -> tuple[RationaleSet, str]:
    """Reads the rationales; also returns their title."""
    if config.data_files:
        rationales = inputs.read_file(
            config.data_files, config, config.filtered_file, config.dataset
        )
        return rationales, pathlib.Path(config.data_files).name
    assert config.release and config.dataset
    dataset, split, teacher = config.dataset, config.split, config.teacher
    rationales = inputs.read_release(config.release, config, dataset, teacher, split)
    return rationales, f"{dataset} {split}, rationales by {teacher}"


def _limits(config: CardConfig, defaults: FeatureLengths) -> TokenLimits:
    limits = FeatureLengths(
        config.inputs_length or defaults.inputs,
        config.targets_length or defaults.targets,
    )
    if config.vocabulary_path:
        return lengths.in_tokens(config.vocabulary_path, limits)
    return lengths.in_words(limits)


def run() -> None:
    """Runs the command."""
    cli.run_with_flags(main, CardConfig, __doc__)
