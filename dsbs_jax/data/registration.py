"""The grammar of task and mixture names, and how a dataset is registered.

Tasks are named `<dataset>[_<teacher>]_<target>`. Without a teacher the label is the
human one, with a teacher the teacher's:

    target                        input         target text
    label                         x             label
    predict                       predict: x    label
    rationale                     explain: x    rationale (always the teacher's)
    rationale_then_label          x             rationale, then the human label
    rationale_then_teacher_label  x             rationale, then the teacher's label

Mixtures are named `<dataset>[_<teacher>]_<method>`:

    method                    labels    tasks
    finetune                  human     label
    distill                   teacher   <teacher>_label
    step_by_step              human     predict, <teacher>_rationale
    step_by_step_unlabeled    teacher   <teacher>_predict, <teacher>_rationale
    single_task               human     <teacher>_rationale_then_label
    single_task_unlabeled     teacher   <teacher>_rationale_then_teacher_label

so `cqa_finetune` needs no teacher and `cqa_palm_step_by_step` mixes `cqa_predict` with
`cqa_palm_rationale`. The prefixes belong to the two-task methods alone (paper, section
3.2; the single-output baselines of the released code have none). Rationale tasks have
no metric, so evaluation does not decode them.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import gin
import seqio

from dsbs_jax.data import jsonl, metrics, preprocessors
from dsbs_jax.data.features import OUTPUT_FEATURES
from dsbs_jax.data.preprocessors import ANSWER_MARKER
from dsbs_jax.data.records import Record
from dsbs_jax.data.sources import RecordSource
from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import LABEL, RATIONALE

PREDICT_PREFIX = "predict: "
EXPLAIN_PREFIX = "explain: "
OWN_TEACHER = "teacher"
# SeqIO's default of 1,000 would leave the order of most datasets as it was.
SHUFFLE_BUFFER = 20_000

MetricFn = Callable[[Sequence, Sequence], Mapping[str, float]]

# Method: label task and rationale task as targets, "{t}" the teacher with its "_".
METHODS: dict[str, tuple[str, ...]] = {
    "finetune": ("label",),
    "distill": ("{t}label",),
    "step_by_step": ("predict", "{t}rationale"),
    "step_by_step_unlabeled": ("{t}predict", "{t}rationale"),
    "single_task": ("{t}rationale_then_label",),
    "single_task_unlabeled": ("{t}rationale_then_teacher_label",),
}


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What a registered task is made of.

    Attributes:
        dataset: The dataset's name.
        teacher: The teacher whose fields it reads, or None.
        prefix: Stands before the input.
        label: Field of the label, or None.
        rationale: Field of the rationale, or None.
        metric: Scores predictions; the rationale task has it too, though no metric.
    """

    dataset: str
    teacher: str | None
    prefix: str
    label: str | None
    rationale: str | None
    metric: MetricFn

    @property
    def task_id(self) -> int:
        """The task that its target tokens count to."""
        return RATIONALE if self.label is None else LABEL


TASKS: dict[str, TaskInfo] = {}
# Users' datasets that gin has registered.
_FILES: dict[str, str | dict[str, str]] = {}


@gin.configurable
def mixing_rates(label: float = 1.0, rationale: float = 1.0) -> tuple[float, float]:
    """Examples of the label task and of the rationale task, relative to each other.

    Raises:
        UserError: A rate is negative, or both are 0.
    """
    if min(label, rationale) < 0 or max(label, rationale) == 0:
        raise UserError(
            f"mixing_rates are label {label} and rationale {rationale}, expected "
            "numbers >= 0, one of them > 0"
        )
    return label, rationale


def _rate(task: seqio.Task, *, by_size: bool) -> float:
    rate = mixing_rates()[TASKS[task.name].task_id - 1]
    return rate * task.num_input_examples("train") if by_size else rate


def split_answer(text: str) -> tuple[str, str]:
    """Parts a single-task output into rationale and label, by its last marker."""
    rationale, _, label = text.rpartition(ANSWER_MARKER.strip())
    return rationale.strip(), label.strip()


def _keep_label(text: str, *, single_task: bool, **_: object) -> str:
    return split_answer(text)[1] if single_task else text.strip()


def _add_task(
    name: str, info: TaskInfo, source: seqio.DataSource, shuffle_buffer: int
) -> None:
    TASKS[name] = info
    seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[
            functools.partial(
                preprocessors.text_to_text,
                prefix=info.prefix,
                label=info.label,
                rationale=info.rationale,
            ),
            preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
            functools.partial(preprocessors.add_task_ids, task_id=info.task_id),
        ],
        output_features=OUTPUT_FEATURES,
        postprocess_fn=functools.partial(
            _keep_label, single_task=bool(info.label and info.rationale)
        ),
        metric_fns=[] if info.label is None else [info.metric],
        shuffle_buffer_size=shuffle_buffer,
    )


def register(
    dataset: str,
    source: seqio.DataSource,
    teachers: Sequence[str] = (OWN_TEACHER,),
    metric: MetricFn = metrics.exact_match,
    shuffle_buffer: int = SHUFFLE_BUFFER,
) -> None:
    """Registers every task and mixture of a dataset.

    Args:
        dataset: Its name, the first part of the names above.
        source: Yields rows as `dsbs_jax.data.preprocessors` describes them.
        teachers: Whose labels and rationales the rows hold.
        metric: Scores label predictions.
        shuffle_buffer: In examples; the training split's size where memory allows.

    Raises:
        UserError: The dataset is registered already.
    """
    if f"{dataset}_label" in TASKS:
        raise UserError(f"dataset {dataset!r} is registered already")
    info = functools.partial(TaskInfo, dataset, metric=metric)
    bare = {"prefix": ""}
    tasks = {
        "label": info(None, label="label", rationale=None, **bare),
        "predict": info(None, PREDICT_PREFIX, label="label", rationale=None),
    }
    for t in teachers:
        label, why = f"{t}_label", f"{t}_rationale"
        tasks |= {
            f"{t}_label": info(t, label=label, rationale=None, **bare),
            f"{t}_predict": info(t, PREDICT_PREFIX, label=label, rationale=None),
            f"{t}_rationale": info(t, EXPLAIN_PREFIX, label=None, rationale=why),
            f"{t}_rationale_then_label": info(t, "", "label", why),
            f"{t}_rationale_then_teacher_label": info(t, "", label, why),
        }
    for target, task in tasks.items():
        _add_task(f"{dataset}_{target}", task, source, shuffle_buffer)
    for teacher in teachers:
        for method in METHODS:
            add_mixture(dataset, method, teacher)


def add_mixture(
    dataset: str, method: str, teacher: str, also: Sequence[str] = ()
) -> None:
    """Registers one mixture of registered tasks.

    Args:
        dataset: Its name; with `also`, the tasks of those datasets join in, each in
            proportion to its size, and the mixture is named `<dataset>_<also>_…`.
        method: A key of `METHODS`.
        teacher: A teacher of the datasets.
        also: Names of further datasets.
    """
    name = mixture_name("_".join([dataset, *also]), method, teacher)
    if name in seqio.MixtureRegistry.names():
        return
    seqio.MixtureRegistry.add(
        name,
        [
            (
                f"{part}_{target.format(t=f'{teacher}_')}",
                functools.partial(_rate, by_size=bool(also)),
            )
            for part in [dataset, *also]
            for target in METHODS[method]
        ],
    )


def mixture_name(
    dataset: str,
    method: str,
    teacher: str = OWN_TEACHER,
    files: str | Mapping[str, str] | None = None,
) -> str:
    """The mixture of a dataset and a method; registers a user's dataset on the way.

    Args:
        dataset: A registered dataset's name, or with `files` a new one.
        method: A key of `METHODS`.
        teacher: "palm", "gpt_neox", or the default for one's own data.
        files: A JSONL file, or one for each split, of one's own data.

    Raises:
        UserError: The method is unknown, or the dataset's name stands for other files.
    """
    if method not in METHODS:
        raise UserError(f"METHOD is {method!r}, expected one of {', '.join(METHODS)}")
    if files is not None:
        _register_files(dataset, files)
    uses_teacher = any("{t}" in target for target in METHODS[method])
    return "_".join([dataset, *([teacher] if uses_teacher else []), method])


def _register_files(dataset: str, files: str | Mapping[str, str]) -> None:
    files = files if isinstance(files, str) else dict(files)
    if f"{dataset}_label" not in TASKS:
        register_jsonl(dataset, files)
        _FILES[dataset] = files
    elif _FILES.get(dataset) != files:
        # SeqIO's registry cannot forget a task.
        raise UserError(
            f"DATASET {dataset!r} is registered with other files; give these another "
            "name"
        )


def test_task_name(dataset: str, method: str) -> str:
    """The task that scores a method's student against human labels.

    For example "cqa_label" for finetune, "cqa_predict" for step_by_step.
    """
    if method.startswith("step_by_step"):
        return f"{dataset}_predict"
    return f"{dataset}_label"


@gin.configurable
def configured_mixture(name: str = gin.REQUIRED) -> str:
    """The mixture that the gin files name, registered by looking it up."""
    return name


def teachers(dataset: str) -> list[str]:
    """The teachers that a dataset is registered with."""
    return sorted({t.teacher for t in TASKS.values() if t.dataset == dataset} - {None})


def subtasks(mixture_or_task_name: str) -> list[TaskInfo]:
    """What the tasks of a registered mixture, or one task, are made of."""
    provider = seqio.get_mixture_or_task(mixture_or_task_name)
    return [TASKS[task.name] for task in seqio.get_subtasks(provider)]


def register_jsonl(dataset: str, files: str | Mapping[str, str]) -> None:
    """Registers a user's own dataset: see `dsbs_jax.data.jsonl` for the format.

    Args:
        dataset: The name to give it.
        files: One JSONL file, which is split 80/10/10, or one for each split.
    """
    if isinstance(files, Mapping):
        files = dict(files)
    records = jsonl.read_dataset(files)
    borrowed = sum(record.label is None for record in records["train"])
    if borrowed:
        print(
            f"{dataset}: {borrowed:,} of {len(records['train']):,} training rows have "
            "no human label and use the teacher's"
        )
    register_records(dataset, records)


def register_records(dataset: str, records: Mapping[str, Sequence[Record]]) -> None:
    """Registers records held in memory under the teacher's name "teacher"."""
    register(
        dataset,
        RecordSource(records, OWN_TEACHER),
        shuffle_buffer=max(1, min(SHUFFLE_BUFFER, len(records["train"]))),
    )
