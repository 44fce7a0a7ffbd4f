"""The training methods, and the grammar of task and mixture names.

Tasks are named `<dataset>[_<teacher>]_<target>`. Without a teacher the label is the
human label, with a teacher it is the teacher's:

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

So `cqa_finetune` needs no teacher, and `cqa_palm_step_by_step` mixes `cqa_predict` with
`cqa_palm_rationale`. Only the two-task methods have prefixes (paper, section 3.2; the
single-output baselines of the released code have none). Rationale tasks have no metric,
so evaluation does not decode them.
"""

import dataclasses
import itertools
from typing import Literal

from dsbs_jax.data import row_schema
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.metrics import Metric
from dsbs_jax.task_ids import LABEL, RATIONALE

Method = Literal[
    "finetune",
    "distill",
    "step_by_step",
    "step_by_step_unlabeled",
    "single_task",
    "single_task_unlabeled",
]
# Targets of each method; "{t}" is replaced by the teacher's name and "_".
METHODS: dict[Method, tuple[str, ...]] = {
    "finetune": ("label",),
    "distill": ("{t}label",),
    "step_by_step": ("predict", "{t}rationale"),
    "step_by_step_unlabeled": ("{t}predict", "{t}rationale"),
    "single_task": ("{t}rationale_then_label",),
    "single_task_unlabeled": ("{t}rationale_then_teacher_label",),
}

# Separates rationale and label in the target of the single-task methods.
ANSWER_MARKER = " So the answer is "

WITHOUT_HUMAN_LABELS: tuple[Method, ...] = (
    "distill",
    "step_by_step_unlabeled",
    "single_task_unlabeled",
)


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """Description of a task: the fields that it reads and predicts.

    Attributes:
        name: Name of the task.
        spec: The dataset's spec.
        teacher: Name of the teacher whose fields the task reads, or None.
        prefix: Text before the input.
        label: Field of the label, or None.
        rationale: Field of the rationale, or None.
    """

    name: str
    spec: DatasetSpec
    teacher: str | None
    prefix: str
    label: str | None
    rationale: str | None

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.spec.name

    @property
    def metric(self) -> Metric:
        """The metric that compares labels."""
        return self.spec.metric

    @property
    def task_id(self) -> int:
        """The id of the objective's task that the target tokens belong to."""
        return RATIONALE if self.label is None else LABEL

    @property
    def single_task(self) -> bool:
        """Whether the target is the rationale followed by the label."""
        return self.label is not None and self.rationale is not None


def task_infos(spec: DatasetSpec) -> list[TaskInfo]:
    """Returns all tasks of a dataset: those with human labels, then each teacher's."""
    human = row_schema.LABEL
    # target: (teacher, prefix, label field, rationale field)
    targets: dict[str, tuple[str | None, str, str | None, str | None]] = {
        "label": (None, "", human, None),
        "predict": (None, spec.predict_prefix, human, None),
    }
    for t in spec.teachers:
        label, rationale = row_schema.label_field(t), row_schema.rationale_field(t)
        targets |= {
            f"{t}_label": (t, "", label, None),
            f"{t}_predict": (t, spec.predict_prefix, label, None),
            f"{t}_rationale": (t, spec.explain_prefix, None, rationale),
            f"{t}_rationale_then_label": (t, "", human, rationale),
            f"{t}_rationale_then_teacher_label": (t, "", label, rationale),
        }
    return [
        TaskInfo(f"{spec.name}_{target}", spec, *fields)
        for target, fields in targets.items()
    ]


def method_targets(method: Method, teacher: str) -> tuple[str, ...]:
    """Returns a method's targets: ("distill", "palm") -> ("palm_label",)."""
    return tuple(target.format(t=f"{teacher}_") for target in METHODS[method])


def mixture_name(dataset: str, method: Method, teacher: str) -> str:
    """Returns a mixture's name: ("cqa", "distill", "palm") -> "cqa_palm_distill"."""
    uses_teacher = any("{t}" in target for target in METHODS[method])
    return "_".join([dataset, *([teacher] if uses_teacher else []), method])


def names_of(spec: DatasetSpec) -> set[str]:
    """Returns all tasks and mixtures; a dataset with parts has no tasks of its own."""
    pairs = itertools.product(METHODS, spec.teachers)
    names = {mixture_name(spec.name, *pair) for pair in pairs}
    return names if spec.parts else names | {info.name for info in task_infos(spec)}


def test_task_name(dataset: str, method: Method) -> str:
    """Returns the name of the task on which validation and test rows are scored.

    Its targets are human labels, also if the method trains on the teacher's labels:
    ("cqa", "distill") -> "cqa_label", ("cqa", "step_by_step") -> "cqa_predict".
    """
    target = "predict" if method.startswith("step_by_step") else "label"
    return f"{dataset}_{target}"
