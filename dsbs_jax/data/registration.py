"""Puts the tasks and mixtures of a dataset into SeqIO's registries.

T5X and SeqIO's own tools find data by name, so they need this module. The local engine
takes the objects of `mixtures.build`. A second registration of a dataset replaces the
first.

    spec = dataset_spec.user_dataset("tickets", labels=("approve", "refuse"))
    registration.register(spec, "tickets.jsonl")
    seqio.get_mixture_or_task("tickets_teacher_step_by_step")
"""

from collections.abc import Iterable

import seqio

from dsbs_jax.data import dataset_spec, methods, mixtures, sources
from dsbs_jax.data.data_config import T5_VOCABULARY, DataConfig
from dsbs_jax.data.data_files import DataFiles
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.methods import METHODS
from dsbs_jax.data.mixtures import EQUAL_RATES, Part, Rates
from dsbs_jax.data.sources import SourceFactory
from dsbs_jax.data.splits import ALL_ROWS, Subsample
from dsbs_jax.data.vocabulary import SENTINELS
from dsbs_jax.errors import UserError

# The values and the mixture's name of the last registered_mixture, by dataset.
_registered: dict[str, tuple[DataConfig, seqio.Vocabulary, str]] = {}


def register(
    spec: DatasetSpec,
    source: SourceFactory | DataFiles | None = None,
    *,
    vocabulary: seqio.Vocabulary | None = None,
    subsample: Subsample = ALL_ROWS,
    rates: Rates = EQUAL_RATES,
) -> None:
    """Registers a dataset: its spec, its source, and all its tasks and mixtures.

    Args:
        spec: The dataset's spec.
        source: A user's files, or the function that makes the dataset's source; None
            for a dataset with parts, which are registered before it.
        vocabulary: Encodes inputs and targets; None uses the published T5 vocabulary,
            which is read when it is first used.
        subsample: The part of the training rows to use.
        rates: Mixing rates of label and rationale tasks.
    """
    dataset_spec.register(spec)
    if source is not None and not callable(source):
        source = sources.from_files(spec.name, source, spec.teachers[0])
    if source is not None:
        sources.register(spec.name, source)
    parts = [
        (dataset_spec.get(name), sources.factory_of(name))
        for name in spec.parts or (spec.name,)
    ]
    _add(spec, parts, vocabulary or _t5_vocabulary(), subsample, rates)
    _registered.pop(spec.name, None)


def registered_mixture(config: DataConfig, vocabulary: seqio.Vocabulary) -> str:
    """Registers the tasks and mixtures of some settings, for T5X's gin files.

    Gin calls this for each use of the name. Equal values are registered once.

    Args:
        config: Which examples to use.
        vocabulary: Encodes inputs and targets.

    Returns:
        `MIXTURE_OR_TASK_NAME`, or the name of the method's mixture.

    Raises:
        UserError: As `mixtures.build`, or T5X cannot train the method.
    """
    if methods.info_of(config.method).paired:
        raise UserError(
            f"METHOD is {config.method!r}, which only the local engine trains; "
            "expected another method for T5X, whose examples have one task each"
        )
    known = _registered.get(config.dataset)
    if known and known[:2] == (config, vocabulary):
        return known[2]
    spec, parts = mixtures.find(config)
    data = mixtures.assemble(config, spec, parts, vocabulary)
    rates = Rates(config.label_rate, config.rationale_rate)
    weight = config.rationale_weight_if_wrong
    _add(spec, parts, vocabulary, config.subsample, rates, weight)
    # MIXTURE_OR_TASK_NAME may belong to another dataset.
    for task in [data.test_task, *seqio.get_subtasks(data.mixture)]:
        _replace(seqio.TaskRegistry, task)
    if isinstance(data.mixture, seqio.Mixture):
        _replace(seqio.MixtureRegistry, data.mixture)
    _registered[config.dataset] = config, vocabulary, data.mixture.name
    return data.mixture.name


def registered_test_task(config: DataConfig, vocabulary: seqio.Vocabulary) -> str:
    """Registers as `registered_mixture` does and returns the test task's name."""
    registered_mixture(config, vocabulary)
    return methods.test_task_name(mixtures.tested_dataset(config), config.method)


def _add(
    spec: DatasetSpec,
    parts: Iterable[Part],
    vocabulary: seqio.Vocabulary,
    subsample: Subsample,
    rates: Rates,
    wrong_rationale_weight: float = 1.0,
) -> None:
    tasks = mixtures.make_tasks(parts, subsample, vocabulary, wrong_rationale_weight)
    for task in tasks.values():
        _replace(seqio.TaskRegistry, task)
    for teacher in spec.teachers:
        for method in (*METHODS, methods.PRETRAIN):
            without_labels = (*methods.WITHOUT_HUMAN_LABELS, methods.PRETRAIN)
            if spec.parts and method not in without_labels:
                continue
            if methods.info_of(method).paired:  # only the local engine reads pairs
                continue
            mixture = mixtures.make_mixture(spec, method, teacher, tasks, rates)
            _replace(seqio.MixtureRegistry, mixture)


def _replace(
    registry: type[seqio.DatasetProviderRegistry], provider: mixtures.Provider
) -> None:
    registry.remove(provider.name)
    registry.add_provider(provider.name, provider)


def _t5_vocabulary() -> seqio.SentencePieceVocabulary:
    # SeqIO reads the model when it is first used. `vocabulary.load` would read it now,
    # from a bucket.
    return seqio.SentencePieceVocabulary(T5_VOCABULARY, extra_ids=SENTINELS)
