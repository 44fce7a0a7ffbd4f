"""The model card of an exported student: `README.md` of a Hugging Face repository."""

import dataclasses
import textwrap

import huggingface_hub

from dsbs_jax.data.methods import ANSWER_MARKER, METHODS, Method
from dsbs_jax.reports import page
from dsbs_jax.reports.proportion import NO_VALUE, Proportion

FILE = "README.md"
_TASK = "text2text-generation"
_LOADING = """\
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

name = {name!r}
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForSeq2SeqLM.from_pretrained(name).eval()


def read(text):
    options = {{"truncation": True, "max_length": {input_length}}}
    return tokenizer(text, return_tensors="pt", **options)
"""
_GENERATING = """\


def generate(text, longest):
    tokens = model.generate(**read(text), max_new_tokens=longest, do_sample=False)
    return tokenizer.decode(tokens[0], skip_special_tokens=True).strip()
"""
_CHOOSING = """\


def predict(text):
    source = read({label_prefix!r} + text)
    scores = []
    for label in labels:
        target = tokenizer(label, return_tensors="pt").input_ids
        with torch.no_grad():
            loss = model(**source, labels=target).loss
        scores.append(-loss * target.shape[1])
    probabilities = torch.stack(scores).softmax(0)
    return dict(zip(labels, probabilities.tolist()))
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardMetric:
    """A metric of the student.

    Attributes:
        split: The split, such as "test".
        name: The metric, such as "accuracy".
        value: Its value; a proportion is 0 to 1.
        interval: Its 95 % interval, if known.
        rows: Number of rows, if known.
    """

    split: str
    name: str
    value: float
    interval: tuple[float, float] | None = None
    rows: int | None = None

    @classmethod
    def of_proportion(
        cls, split: str, name: str, proportion: Proportion
    ) -> "CardMetric":
        """Makes a metric of a proportion of rows."""
        return cls(
            split=split,
            name=name,
            value=proportion.value,
            interval=proportion.interval,
            rows=proportion.total,
        )

    @property
    def text(self) -> str:
        """The value as text, with three decimal places."""
        return f"{self.value:.3f}"

    @property
    def interval_text(self) -> str:
        """The interval as text."""
        if self.interval is None:
            return NO_VALUE
        return f"{self.interval[0]:.3f} to {self.interval[1]:.3f}"

    @property
    def rows_text(self) -> str:
        """The number of rows as text."""
        return NO_VALUE if self.rows is None else f"{self.rows:,}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCardFacts:
    """The facts of a model card.

    Attributes:
        name: The title, such as the repository's name.
        method: The training method; None for weights of unknown origin.
        dataset: Name of the dataset.
        label_prefix: Text before an input of the label task; may be empty.
        explain_prefix: Text before an input of the rationale task; None for a student
            without this task.
        single_task: Whether the label follows the rationale in one output.
        labels: The closed label set; None where answers are free text.
        input_length: Tokens to which inputs are cut, with the end token.
        label_length: Longest generated answer of the label task, in tokens.
        rationale_length: Longest generated rationale, in tokens.
        repository: `<owner>/<name>` of the Hugging Face hub; None for a folder, in
            which the code of the card is then run.
        input_template: The form of an input with several fields, if it has one.
        example: An input in the code of the card, which is published.
        data_fingerprint: Hash of the training data, if known.
        teacher: Name of the teacher, if there is one.
        metrics: Results of evaluations.
        license: License in the hub's spelling, such as "apache-2.0".
        base_model: Id of the hub's model from which the training started.
        language: Language codes of the data, such as "en".
    """

    name: str
    method: Method | None
    dataset: str
    label_prefix: str
    explain_prefix: str | None
    single_task: bool = False
    labels: tuple[str, ...] | None = None
    input_length: int
    label_length: int
    rationale_length: int
    repository: str | None = None
    input_template: str | None = None
    example: str = "Write your input here."
    data_fingerprint: str | None = None
    teacher: str | None = None
    metrics: tuple[CardMetric, ...] = ()
    license: str | None = None
    base_model: str | None = None
    language: tuple[str, ...] = ()


def render(facts: ModelCardFacts) -> str:
    """Returns the card: YAML for the hub, and a page in Markdown."""
    template = page.markdown_template("model_card.md.jinja")
    body = template.render(
        facts=facts,
        method=METHODS[facts.method].training if facts.method else None,
        marker=ANSWER_MARKER.strip(),
        transformers_code=transformers_code(facts),
        dsbs_jax_code=dsbs_jax_code(facts),
    )
    return f"---\n{metadata(facts)}\n---\n\n{body}"


def metadata(facts: ModelCardFacts) -> str:
    """Returns the card's YAML, which the hub reads."""
    results = [
        huggingface_hub.EvalResult(
            task_type=_TASK,
            dataset_type=facts.dataset,
            dataset_name=facts.dataset,
            dataset_split=metric.split,
            metric_type=metric.name,
            metric_value=round(metric.value, 6),
        )
        for metric in facts.metrics
    ]
    data = huggingface_hub.ModelCardData(
        language=list(facts.language) or None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag=_TASK,
        tags=["dsbs_jax", "distilling-step-by-step", "t5"],
        base_model=facts.base_model,
        metrics=list(dict.fromkeys(metric.name for metric in facts.metrics)) or None,
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def transformers_code(facts: ModelCardFacts) -> str:
    """Returns code that uses the student in transformers."""
    values = {
        "name": facts.repository or ".",
        "input_length": facts.input_length,
        "label_prefix": facts.label_prefix,
    }
    chooses = facts.labels is not None and not facts.single_task
    generates = not chooses or facts.explain_prefix is not None
    parts = [_LOADING.format(**values)]
    if generates:
        parts.append(_GENERATING)
    if chooses:
        parts.append(_CHOOSING.format(**values))
    parts.append(f"\n\n{_labels(facts)}text = {facts.example!r}\n")
    if chooses:
        parts.append("print(predict(text))\n")
    else:
        text = _prefixed(facts.label_prefix)
        parts.append(f"print(generate({text}, {facts.label_length}))\n")
    if facts.explain_prefix is not None:
        text = _prefixed(facts.explain_prefix)
        parts.append(f"print(generate({text}, {facts.rationale_length}))\n")
    return "".join(parts)


def dsbs_jax_code(facts: ModelCardFacts) -> str:
    """Returns code that uses the student in dsbs_jax.

    `student.json` next to the weights has the labels, prefixes and lengths.
    """
    name = f"hub:{facts.repository}" if facts.repository else "."
    lines = [
        "import dsbs_jax",
        "",
        f"student = dsbs_jax.Student.load({name!r})",
        f"text = {facts.example!r}",
        "print(student.predict([text]))",
    ]
    if facts.explain_prefix is not None:
        lines.append("print(student.explain([text]))")
    return "\n".join(lines) + "\n"


def _labels(facts: ModelCardFacts) -> str:
    """Returns the statement that defines the label set, or ""."""
    if facts.labels is None:
        return ""
    # A text is not broken at its spaces.
    items = ", ".join(repr(label).replace(" ", "\0") for label in facts.labels)
    lines = textwrap.wrap(
        items,
        84,
        break_long_words=False,
        break_on_hyphens=False,
    )
    body = "\n".join(f"    {line}" for line in lines).replace("\0", " ")
    return f"labels = [\n{body},\n]\n"


def _prefixed(prefix: str) -> str:
    return f"{prefix!r} + text" if prefix else "text"
