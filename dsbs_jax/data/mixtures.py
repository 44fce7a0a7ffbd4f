"""A method's training data as SeqIO objects, made from values.

Nothing here reads or changes SeqIO's registries, except for `MIXTURE_OR_TASK_NAME` with
a name that no registered dataset has. So one process can hold several versions of a
dataset, for example with different vocabularies. `registration` puts tasks and mixtures
into the registries, for T5X.

    config = DataConfig(dataset="cqa", method="step_by_step", teacher="palm")
    data = build(config, vocabulary.load(config.vocabulary_path))
    data.mixture.name     # "cqa_palm_step_by_step"
    data.test_task.name   # "cqa_predict"
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import seqio

from dsbs_jax.data import data_files, dataset_spec, methods, sources, teacher_weights
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.data.dataset_spec import USER_TEACHER, DatasetSpec
from dsbs_jax.data.methods import METHODS, PRETRAIN, AnyMethod, TaskInfo
from dsbs_jax.data.records import Record
from dsbs_jax.data.sources import RecordSource, SourceFactory
from dsbs_jax.data.splits import Subsample
from dsbs_jax.data.tasks import StudentTask, infos_of
from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import LABEL, RATIONALE

Provider: TypeAlias = seqio.Task | seqio.Mixture
# A dataset with its own rows, and the function that makes its source.
Part: TypeAlias = tuple[DatasetSpec, SourceFactory]


@dataclasses.dataclass(frozen=True)
class MethodData:
    """The examples that a student is trained and scored on.

    Attributes:
        mixture: The training mixture, or one task.
        test_task: The task whose test split compares the student with human labels.
        tasks: What each task of the mixture and the test task reads, by task name.
        spec: The dataset's spec.
        vocabulary: Encodes inputs and targets.
        task_feature_lengths: Tokens of `inputs`, `targets` and `task_ids`.
    """

    mixture: Provider
    test_task: StudentTask
    tasks: Mapping[str, TaskInfo]
    spec: DatasetSpec
    vocabulary: seqio.Vocabulary
    task_feature_lengths: Mapping[str, int]

    @property
    def validated(self) -> Provider:
        """The task or mixture whose validation split selects the best checkpoint.

        A user's rows are scored on human labels, also if the method trains on the
        teacher's labels. The released code validates on the labels that it trains on.
        Pairs are scored as the label task, on the same labels.
        """
        own = isinstance(self.test_task.source, RecordSource)
        own &= self.test_task.info.dataset == self.spec.name
        if own or any(info.paired for info in self.tasks.values()):
            return self.test_task
        return self.mixture


@dataclasses.dataclass(frozen=True)
class Rates:
    """Mixing rates of a batch's examples, relative to each other.

    Attributes:
        label: Rate of label tasks.
        rationale: Rate of rationale tasks.
    """

    label: float = 1.0
    rationale: float = 1.0

    def of(self, info: TaskInfo) -> float:
        """Returns the rate of a task."""
        return self.label if info.task_id == LABEL else self.rationale


EQUAL_RATES = Rates()


def build(config: DataConfig, vocabulary: seqio.Vocabulary) -> MethodData:
    """Makes the mixture and the test task of a method.

    Args:
        config: Which examples to use.
        vocabulary: Encodes inputs and targets.

    Raises:
        UserError: The dataset, teacher or mixture is unknown, or its files are wrong.
    """
    return assemble(config, *find(config), vocabulary)


def find(config: DataConfig) -> tuple[DatasetSpec, list[Part]]:
    """Finds a dataset.

    Returns:
        The dataset's spec and the list of its parts. For a dataset without parts, the
        list contains the dataset itself.

    Raises:
        UserError: The dataset is unknown, or its files are wrong.
    """
    name = config.dataset
    if config.data_files is not None:
        teacher = config.teacher or USER_TEACHER
        if config.method == PRETRAIN:
            return _of_texts(name, data_files.read_training_rows(config.data_files))
        return _of_rows(config, teacher, data_files.read_dataset(config.data_files))
    if config.teacher_weights:
        raise UserError(
            f"TEACHER_WEIGHTS is given with DATASET {name!r}, expected DATA_FILES with "
            "rows that have the field rationale_teachers"
        )
    sources.import_dataset(name, config.dataset_module)
    spec = dataset_spec.get(name)
    names = spec.parts or (name,)
    return spec, [(dataset_spec.get(n), sources.factory_of(n)) for n in names]


def build_from_records(
    config: DataConfig,
    records: Mapping[str, Sequence[Record]],
    vocabulary: seqio.Vocabulary,
) -> MethodData:
    """Makes the mixture and the test task from rows in memory instead of DATA_FILES.

    Args:
        config: Which examples to use.
        records: The rows of each split.
        vocabulary: Encodes inputs and targets.

    Raises:
        UserError: As `build`.
    """
    teacher = config.teacher or USER_TEACHER
    return assemble(config, *_of_rows(config, teacher, records), vocabulary)


def _of_rows(
    config: DataConfig, teacher: str, records: Mapping[str, Sequence[Record]]
) -> tuple[DatasetSpec, list[Part]]:
    """Returns the spec and the only part of a user's dataset."""
    name = config.dataset
    if config.teacher_weights:
        train = teacher_weights.apply(records["train"], config.teacher_weights)
        records = {**records, "train": train}
    known = dataset_spec.of_files(name)
    spec = dataclasses.replace(known, teachers=(teacher,), parts=())
    return spec, [(spec, sources.of_records(name, records, teacher))]


def _of_texts(name: str, records: Sequence[Record]) -> tuple[DatasetSpec, list[Part]]:
    """Returns the spec and the only part of a user's texts, which have no scores."""
    spec = dataclasses.replace(dataset_spec.of_files(name), parts=())
    factory = functools.partial(RecordSource, {"train": records}, spec.teachers[0])
    return spec, [(spec, factory)]


def assemble(
    config: DataConfig,
    spec: DatasetSpec,
    parts: Sequence[Part],
    vocabulary: seqio.Vocabulary,
) -> MethodData:
    """Makes the mixture and the test task of a dataset that `find` has found."""
    tested = tested_dataset(config)
    if tested not in [part.name for part, _ in parts]:
        _, others = find(dataclasses.replace(config, dataset=tested, data_files=None))
        parts = [*parts, *others]
    tasks = make_tasks(
        parts, config.subsample, vocabulary, config.rationale_weight_if_wrong
    )
    rates = Rates(config.label_rate, config.rationale_rate)
    mixture = _mixture(config, spec, tasks, rates, vocabulary)
    test_task = tasks[methods.test_task_name(tested, config.method)]
    try:
        infos = infos_of(mixture)
    except TypeError as error:
        raise UserError(f"MIXTURE_OR_TASK_NAME: {error}") from error
    return MethodData(
        mixture=mixture,
        test_task=test_task,
        tasks={info.name: info for info in [*infos, test_task.info]},
        spec=spec,
        vocabulary=vocabulary,
        task_feature_lengths=task_feature_lengths(config),
    )


def check_split(provider: Provider, split: str) -> None:
    """Checks that a task or mixture has the split that `EVAL_SPLIT` names.

    Raises:
        UserError: It does not have the split.
    """
    if split not in provider.splits:
        raise UserError(
            f"EVAL_SPLIT is {split!r}, expected one of "
            f"{', '.join(sorted(provider.splits))}"
        )


def tested_dataset(config: DataConfig) -> str:
    """Returns the dataset whose test split is scored."""
    spec = dataset_spec.find(config.dataset)
    parts = spec.parts if spec and config.data_files is None else ()
    return config.test_dataset or (parts or (config.dataset,))[0]


def task_feature_lengths(config: DataConfig) -> dict[str, int]:
    """Returns the lengths that the settings give, or else those of the dataset."""
    if config.task_feature_lengths is not None:
        return dict(config.task_feature_lengths)
    spec = dataset_spec.of_files(config.dataset)
    if config.data_files is None:
        sources.import_dataset(config.dataset, config.dataset_module)
        spec = dataset_spec.get(config.dataset)
    return spec.feature_lengths.task_feature_lengths


def make_tasks(
    parts: Iterable[Part],
    subsample: Subsample,
    vocabulary: seqio.Vocabulary,
    wrong_rationale_weight: float = 1.0,
) -> dict[str, StudentTask]:
    """Makes every task of some datasets, by name.

    Args:
        parts: The datasets.
        subsample: The part of the training rows to use.
        vocabulary: Encodes inputs and targets.
        wrong_rationale_weight: As for `StudentTask`.
    """
    tasks = {}
    for spec, factory in parts:
        source = factory(subsample)
        for info in methods.task_infos(spec):
            tasks[info.name] = StudentTask(
                info, source, vocabulary, wrong_rationale_weight
            )
    return tasks


def make_mixture(
    spec: DatasetSpec,
    method: AnyMethod,
    teacher: str,
    tasks: Mapping[str, StudentTask],
    rates: Rates = EQUAL_RATES,
) -> seqio.Mixture:
    """Makes the mixture of a dataset, a method and a teacher.

    Args:
        spec: The dataset's spec. The tasks of several parts are mixed in proportion to
            the parts' sizes.
        method: The training method.
        teacher: Name of the teacher.
        tasks: The tasks of all parts, by name.
        rates: Mixing rates of label and rationale tasks.

    Raises:
        UserError: The teacher is unknown, or the parts' human labels do not fit
            together.
    """
    if teacher not in spec.teachers:
        raise UserError(
            f"TEACHER is {teacher!r}, expected one of {', '.join(spec.teachers)} for "
            f"the dataset {spec.name!r}"
        )
    if spec.parts and method not in (*methods.WITHOUT_HUMAN_LABELS, PRETRAIN):
        raise UserError(
            f"METHOD is {method!r}, expected one of "
            f"{', '.join(methods.WITHOUT_HUMAN_LABELS)} for {spec.name!r}, whose parts "
            "have different kinds of human labels"
        )
    members = [
        tasks[f"{part}_{target}"]
        for part in spec.parts or (spec.name,)
        for target in methods.method_targets(method, teacher)
    ]
    weighted = []
    for task in members:
        rate = rates.of(task.info)
        by_size = functools.partial(_rate_by_size, rate=rate)
        weighted.append((task, by_size if spec.parts else rate))
    return seqio.Mixture(methods.mixture_name(spec.name, method, teacher), weighted)


def rationales_only(data: MethodData) -> MethodData:
    """Returns the data of a method with the rationale tasks of its mixture alone.

    Raises:
        UserError: The method has no rationale task.
    """
    tasks = [
        task
        for task in seqio.get_subtasks(data.mixture)
        if data.tasks[task.name].label is None
        and data.tasks[task.name].task_id == RATIONALE
    ]
    if not tasks:
        raise UserError(
            f"EXPLAIN_FIRST_STEPS needs a method with a rationale task, such as "
            f"step_by_step; {data.mixture.name!r} has none"
        )
    name = f"{data.mixture.name}_rationales"
    return dataclasses.replace(data, mixture=seqio.Mixture(name, tasks, 1.0))


def _rate_by_size(task: seqio.Task, *, rate: float) -> float:
    # Called when the mixture is read, because counting rows opens the dataset.
    return rate * task.num_input_examples("train")


def _mixture(
    config: DataConfig,
    spec: DatasetSpec,
    tasks: Mapping[str, StudentTask],
    rates: Rates,
    vocabulary: seqio.Vocabulary,
) -> Provider:
    """Returns what `MIXTURE_OR_TASK_NAME` names, or the mixture of the method."""
    name = config.mixture_or_task_name
    if name is None:
        teacher = config.teacher or spec.teachers[0]
        return make_mixture(spec, config.method, teacher, tasks, rates)
    if named := _find_named(name, spec, tasks, rates):
        return named
    for dataset in dataset_spec.all_names():
        other = dataset_spec.get(dataset)
        if dataset == config.dataset or name not in methods.names_of(other):
            continue
        _, parts = find(dataclasses.replace(config, dataset=dataset, data_files=None))
        tasks = make_tasks(
            parts, config.subsample, vocabulary, config.rationale_weight_if_wrong
        )
        if named := _find_named(name, other, tasks, rates):
            return named
    return _find_in_registry(name, vocabulary)


def _find_named(
    name: str, spec: DatasetSpec, tasks: Mapping[str, StudentTask], rates: Rates
) -> Provider | None:
    """Returns a task or mixture of a dataset, or None for another name."""
    if name in tasks:
        return tasks[name]
    for method, teacher in itertools.product((*METHODS, PRETRAIN), spec.teachers):
        if name == methods.mixture_name(spec.name, method, teacher):
            return make_mixture(spec, method, teacher, tasks, rates)
    return None


def _find_in_registry(name: str, vocabulary: seqio.Vocabulary) -> Provider:
    """Returns a task or mixture that only SeqIO's registry has.

    Raises:
        UserError: The name is unknown, or a task has another vocabulary.
    """
    try:
        provider = seqio.get_mixture_or_task(name)
    except ValueError as error:
        raise UserError(
            f"MIXTURE_OR_TASK_NAME is {name!r}, expected a task or mixture of a "
            "registered dataset or of SeqIO's registry"
        ) from error
    for task in seqio.get_subtasks(provider):
        feature = task.output_features.get("targets")
        if feature and feature.vocabulary != vocabulary:
            raise UserError(
                f"MIXTURE_OR_TASK_NAME is {name!r}, but its task {task.name!r} has "
                "another vocabulary than VOCABULARY_PATH"
            )
    return provider


_temporary_names = itertools.count()


@contextlib.contextmanager
def temporary_name(provider: Provider) -> Iterator[str]:
    """Registers a task or mixture with SeqIO under a name that nothing else has.

    `seqio.Evaluator` takes a name and looks it up when it is made. It keeps the task
    objects, so the name can be removed afterwards.
    """
    registry = (
        seqio.MixtureRegistry
        if isinstance(provider, seqio.Mixture)
        else seqio.TaskRegistry
    )
    name = f"dsbs_jax_temporary_{next(_temporary_names)}"
    registry.add_provider(name, provider)
    try:
        yield name
    finally:
        registry.remove(name)
