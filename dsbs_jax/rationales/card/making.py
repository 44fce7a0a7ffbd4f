"""Makes a quality card from its settings: reads the rationales and writes the pages."""

import importlib
import pathlib

from dsbs_jax.data.dataset_spec import FeatureLengths
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import lengths
from dsbs_jax.rationales.card import bias_inputs, content, inputs, writing
from dsbs_jax.rationales.card.config import CardConfig
from dsbs_jax.rationales.card.inputs import RationaleSet
from dsbs_jax.rationales.lengths import TokenLimits
from dsbs_jax.reports.page import WrittenPage


def make(config: CardConfig) -> WrittenPage:
    """Writes the card that the settings describe.

    Raises:
        UserError: A setting is wrong, or the rationales cannot be read.
        OSError: A file cannot be written.
    """
    if config.dataset_module:
        _import(config.dataset_module)
    rationales, title = _read(config)
    figures = writing.write(
        config.output_dir,
        rationales.examples,
        rationales.result,
        title=f"Quality card: {title}",
        spec=rationales.spec,
        limits=_limits(config, rationales.spec.feature_lengths),
        failed=rationales.failed,
        facts=rationales.facts,
        columns=bias_inputs.read_columns(
            config, rationales.paths, {example.id for example in rationales.examples}
        ),
        swapped=bias_inputs.read_swapped(config, rationales),
    )
    page = pathlib.Path(config.output_dir) / writing.HTML
    return WrittenPage(page, content.headline(figures))


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
