"""The training methods, and the grammar of task and mixture names.

Tasks are named `<dataset>[_<teacher>]_<target>`. Without a teacher the label is the
human label, with a teacher it is the teacher's:

    target                        input         target text
    label                         x             label
    predict                       predict: x    label
    rationale                     explain: x    rationale (always the teacher's)
    rationales                    explain: x    each of the row's rationales
    rationale_then_label          x             rationale, then the human label
    rationale_then_teacher_label  x             rationale, then the teacher's label
    label_then_rationale          x             human label, end token, rationale
    pair                          both          label and rationale of one row
    factual_label                 [Factual] x   human label
    factual_rationale_then_label  [Factual] x   [Factual], rationale, human label
    counterfactual_rationale_then_label
                                  [Counterfactual] x
                                                [Counterfactual], counterfactual
                                                rationale, its label
    spans                         x with gaps   spans of x (`span_corruption`)

Mixtures are named `<dataset>[_<teacher>]_<method>`:

    method                    labels    tasks
    finetune                  human     label
    distill                   teacher   <teacher>_label
    step_by_step              human     predict, <teacher>_rationale
    step_by_step_unlabeled    teacher   <teacher>_predict, <teacher>_rationale
    single_task               human     <teacher>_rationale_then_label
    single_task_unlabeled     teacher   <teacher>_rationale_then_teacher_label
    label_then_rationale      human     <teacher>_label_then_rationale
    step_by_step_correct      human     predict, <teacher>_rationale
    step_by_step_multi        human     predict, <teacher>_rationales
    counterfactual            human     <teacher>_factual_rationale_then_label,
                                        <teacher>_counterfactual_rationale_then_label
    mutual_information        human     <teacher>_pair
    pretrain                  none      spans

`METHODS` describes each method, and docs/methods.md explains them. So `cqa_finetune`
needs no teacher, and `cqa_palm_step_by_step` mixes `cqa_predict` with
`cqa_palm_rationale`. Only the two-task methods have prefixes (paper, section 3.2; the
single-output baselines of the released code have none). Rationale tasks have no metric,
so evaluation does not decode them.

In `label_then_rationale`, decoding stops at the end token after the label, so that a
prediction costs as much as that of a student of labels alone.
"""

import dataclasses
import itertools
from typing import Literal

from dsbs_jax.data import row_schema
from dsbs_jax.data.dataset_spec import EXPLAIN_PREFIX, PREDICT_PREFIX, DatasetSpec
from dsbs_jax.data.metrics import Metric
from dsbs_jax.task_ids import LABEL, RATIONALE

Method = Literal[
    "finetune",
    "distill",
    "step_by_step",
    "step_by_step_unlabeled",
    "single_task",
    "single_task_unlabeled",
    "label_then_rationale",
    "step_by_step_correct",
    "step_by_step_multi",
    "counterfactual",
    "mutual_information",
]
# Pretraining on the inputs alone.
PRETRAIN: Literal["pretrain"] = "pretrain"
AnyMethod = Literal[Method, "pretrain"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """Description of a method.

    Attributes:
        targets: The targets of its tasks; "{t}" is replaced by the teacher's name and
            "_".
        title: The method in a table or plot.
        training: How its students are trained, the end of a sentence.
        alpha: Weight of the label tokens in the objective, 0 to 1; the default of
            `ALPHA`.
        wrong_rationale_weight: Weight of the rationales of rows on which the teacher is
            wrong, 0 to 1; the default of `WRONG_RATIONALE_WEIGHT`.
        beta: Weight of the cross-entropy between the pooled distributions of label and
            rationale; the default of `BETA`.
    """

    targets: tuple[str, ...]
    title: str
    training: str
    alpha: float = 1.0
    wrong_rationale_weight: float = 1.0
    beta: float = 0.0

    @property
    def paired(self) -> bool:
        """Whether one example has the label and the rationale of a row."""
        return any(target.endswith("pair") for target in self.targets)

    @property
    def two_tasks(self) -> bool:
        """Whether the method has two tasks, each with half of a batch."""
        return len(self.targets) == 2

    @property
    def counterfactual(self) -> bool:
        """Whether the second task has counterfactual rationales."""
        return any("counterfactual" in target for target in self.targets)

    @property
    def each_rationale(self) -> bool:
        """Whether each rationale of a row is one example."""
        return any(target.endswith("rationales") for target in self.targets)

    @property
    def rationale_first(self) -> bool:
        """Whether one target has the rationale before the label."""
        return any("rationale_then" in target for target in self.targets)

    @property
    def label_first(self) -> bool:
        """Whether one target has the label before the rationale."""
        return any("label_then" in target for target in self.targets)


METHODS: dict[Method, MethodInfo] = {
    "finetune": MethodInfo(
        targets=("label",),
        title="standard finetuning",
        training="on labels only (standard finetuning)",
    ),
    "distill": MethodInfo(
        targets=("{t}label",),
        title="standard distillation",
        training="on a teacher's labels only (standard distillation)",
    ),
    "step_by_step": MethodInfo(
        targets=("predict", "{t}rationale"),
        title="step-by-step",
        training="on two tasks, the label and the teacher's rationale",
        alpha=0.5,
    ),
    "step_by_step_unlabeled": MethodInfo(
        targets=("{t}predict", "{t}rationale"),
        title="step-by-step, unlabeled",
        training="on two tasks, the teacher's label and its rationale",
        alpha=0.5,
    ),
    "single_task": MethodInfo(
        targets=("{t}rationale_then_label",),
        title="single task",
        training="to write the teacher's rationale and then the label",
    ),
    "single_task_unlabeled": MethodInfo(
        targets=("{t}rationale_then_teacher_label",),
        title="single task, unlabeled",
        training="to write the teacher's rationale and then its label",
    ),
    # Wadhwa et al. 2024, arXiv 2406.14511: the rationale after the label.
    "label_then_rationale": MethodInfo(
        targets=("{t}label_then_rationale",),
        title="label, then rationale",
        training="to write the label and then the teacher's rationale",
        alpha=0.5,
    ),
    "step_by_step_correct": MethodInfo(
        targets=("predict", "{t}rationale"),
        title="step-by-step, right rationales",
        training="on two tasks, the label and the teacher's rationale, without the "
        "rationales of rows on which the teacher is wrong",
        alpha=0.5,
        wrong_rationale_weight=0.0,
    ),
    # Ho et al. 2023, arXiv 2212.10071, and Tian et al. 2024, arXiv 2402.04616.
    "step_by_step_multi": MethodInfo(
        targets=("predict", "{t}rationales"),
        title="step-by-step, several rationales",
        training="on two tasks, the label and each of the teacher's rationales",
        alpha=0.5,
    ),
    # SCOTT, Wang et al. 2023, arXiv 2305.01879.
    "counterfactual": MethodInfo(
        targets=(
            "{t}factual_rationale_then_label",
            "{t}counterfactual_rationale_then_label",
        ),
        title="counterfactual rationales",
        training="to write the teacher's rationale and then the label, and to follow "
        "counterfactual rationales to their labels",
        alpha=0.5,
    ),
    # Chen et al. 2024, arXiv 2403.03348.
    "mutual_information": MethodInfo(
        targets=("{t}pair",),
        title="step-by-step, mutual information",
        training="on two tasks, the label and the teacher's rationale, with similar "
        "distributions of tokens for both",
        alpha=0.5,
        beta=0.1,
    ),
}

_PRETRAINING = MethodInfo(
    targets=("spans",), title="pretraining", training="on spans of plain text"
)


def info_of(method: AnyMethod) -> MethodInfo:
    """Returns the description of a method, or of pretraining."""
    return _PRETRAINING if method == PRETRAIN else METHODS[method]


# Prefixes of inputs and targets of the counterfactual method (arXiv 2305.01879).
FACTUAL_PREFIX = "[Factual] "
COUNTERFACTUAL_PREFIX = "[Counterfactual] "


def prefixes_of(method: MethodInfo) -> tuple[str, ...]:
    """Returns the prefixes of the inputs of a user's rows."""
    if method.counterfactual:
        return FACTUAL_PREFIX, COUNTERFACTUAL_PREFIX
    return PREDICT_PREFIX, EXPLAIN_PREFIX


# Separates rationale and label in the target of the single-task methods.
ANSWER_MARKER = " So the answer is "

_BOTH_PREFIXED = "factual_rationale_then_label"

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
        rationale: Field of the rationale, or None. A task without a label and without
            a rationale is trained on spans of the inputs.
        label_first: Whether the target has the label, an end token and then the
            rationale. A row without a rationale has the label alone.
        each_rationale: Whether each rationale of a row is one example.
        target_prefix: Text before the target.
        counterfactual: Whether only the tokens of the label have a loss, and belong to
            the rationale task.
        paired: Whether the example also has the input and the target of the rationale
            task.
    """

    name: str
    spec: DatasetSpec
    teacher: str | None
    prefix: str
    label: str | None
    rationale: str | None
    label_first: bool = False
    each_rationale: bool = False
    target_prefix: str = ""
    counterfactual: bool = False
    paired: bool = False

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
        """The id of the objective's task that the target tokens belong to.

        With `label_first`, it is the id of the tokens up to the first end token.
        """
        is_label = self.label is not None and not self.counterfactual
        return LABEL if is_label or self.is_pretraining else RATIONALE

    @property
    def is_scored(self) -> bool:
        """Whether the metric compares the student's answers with the labels."""
        return self.label is not None and not self.counterfactual

    @property
    def is_pretraining(self) -> bool:
        """Whether the target is spans of the input."""
        return self.label is None and self.rationale is None

    @property
    def single_task(self) -> bool:
        """Whether the target is the rationale followed by the label."""
        both = self.label is not None and self.rationale is not None
        return both and not self.label_first and not self.paired


def task_infos(spec: DatasetSpec) -> list[TaskInfo]:
    """Returns all tasks of a dataset: those with human labels, then each teacher's."""
    human = row_schema.LABEL
    # target: (teacher, prefix, label field, rationale field)
    targets: dict[str, tuple[str | None, str, str | None, str | None]] = {
        "label": (None, "", human, None),
        "predict": (None, spec.predict_prefix, human, None),
        "factual_label": (None, FACTUAL_PREFIX, human, None),
    }
    for t in spec.teachers:
        label, rationale = row_schema.label_field(t), row_schema.rationale_field(t)
        other_rationale, other_label = row_schema.counterfactual_fields(t)
        targets |= {
            f"{t}_label": (t, "", label, None),
            f"{t}_predict": (t, spec.predict_prefix, label, None),
            f"{t}_rationale": (t, spec.explain_prefix, None, rationale),
            f"{t}_rationales": (t, spec.explain_prefix, None, rationale),
            f"{t}_rationale_then_label": (t, "", human, rationale),
            f"{t}_rationale_then_teacher_label": (t, "", label, rationale),
            f"{t}_label_then_rationale": (t, "", human, rationale),
            f"{t}_pair": (t, spec.predict_prefix, human, rationale),
            f"{t}_factual_rationale_then_label": (t, FACTUAL_PREFIX, human, rationale),
            f"{t}_counterfactual_rationale_then_label": (
                t,
                COUNTERFACTUAL_PREFIX,
                other_label,
                other_rationale,
            ),
        }
    targets["spans"] = (None, "", None, None)
    return [
        TaskInfo(
            f"{spec.name}_{target}",
            spec,
            *fields,
            label_first="label_then" in target,
            each_rationale=target.endswith("_rationales"),
            # In this method the target has the prefix of the input.
            target_prefix=fields[1] if target.endswith(_BOTH_PREFIXED) else "",
            counterfactual="_counterfactual_" in target,
            paired=target.endswith("_pair"),
        )
        for target, fields in targets.items()
    ]


def method_targets(method: AnyMethod, teacher: str) -> tuple[str, ...]:
    """Returns a method's targets: ("distill", "palm") -> ("palm_label",)."""
    targets = info_of(method).targets
    return tuple(target.format(t=f"{teacher}_") for target in targets)


def mixture_name(dataset: str, method: AnyMethod, teacher: str) -> str:
    """Returns a mixture's name: ("cqa", "distill", "palm") -> "cqa_palm_distill"."""
    uses_teacher = any("{t}" in target for target in info_of(method).targets)
    return "_".join([dataset, *([teacher] if uses_teacher else []), method])


def names_of(spec: DatasetSpec) -> set[str]:
    """Returns all tasks and mixtures; a dataset with parts has no tasks of its own."""
    pairs = itertools.product((*METHODS, PRETRAIN), spec.teachers)
    names = {mixture_name(spec.name, *pair) for pair in pairs}
    return names if spec.parts else names | {info.name for info in task_infos(spec)}


def test_task_name(dataset: str, method: AnyMethod) -> str:
    """Returns the name of the task on which validation and test rows are scored.

    Pretraining has no scores; its own task takes the place.

    Its targets are human labels, also if the method trains on the teacher's labels:
    ("cqa", "distill") -> "cqa_label", ("cqa", "step_by_step") -> "cqa_predict".
    """
    if method == PRETRAIN:
        return f"{dataset}_spans"
    info = info_of(method)
    is_prefixed = method.startswith("step_by_step") or info.paired
    target = "predict" if is_prefixed else "label"
    if info.counterfactual:
        target = "factual_label"
    return f"{dataset}_{target}"
