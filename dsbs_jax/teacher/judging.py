r"""Asks a judge whether the rationales of the kept rows support their labels.

Zheng et al. 2023 (arXiv 2306.05685) compare such verdicts with those of people.
Requests to the judge are stored in the extraction's store like those to the teacher, so
resuming, caps and batches work in the same way.

    input "line is dead", label "visit", rationale "No tone, so a technician comes."
    -> "… Question:\nline is dead\n\nAnswer: visit\n\nReasoning:\nNo tone, so …"
    -> "The reasoning names the fault. Verdict: yes" -> verdict "yes"
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from dsbs_jax.data import dataset_spec
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.errors import UserError, reason
from dsbs_jax.rationales.voting import Verdict, VotedExample
from dsbs_jax.replies.verdicts import VerdictReader
from dsbs_jax.teacher import results
from dsbs_jax.teacher.config import ExtractionSettings
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.judge_config import JudgeConfig
from dsbs_jax.teacher.prompts import Prompt
from dsbs_jax.teacher.request_plan import RequestPlan
from dsbs_jax.teacher.sampling import SamplingConfig, check_extra_body
from dsbs_jax.teacher.store import Store, StoredReply

# A change to this text would send paid requests again.
PROMPT = """\
Judge the reasoning that another model gave for its answer to a question.

Question:
{input}

Answer: {label}

Reasoning:
{rationale}

Does the reasoning support this answer? It does if its statements are true for the \
question and lead to this answer, and to no other answer. First give your reason in \
one short sentence. Then end with the line "Verdict: yes" or the line "Verdict: no"."""
_VERDICTS: Mapping[str | None, Verdict] = {"yes": "yes", "no": "no"}
_FIELD = re.compile(r"\{(input|label|rationale)\}")


@dataclasses.dataclass(frozen=True)
class Judge:
    """A model that judges rationales.

    Attributes:
        template: The text of a request, with `{label}`, `{rationale}` and `{input}`.
        sampling: How the judge answers.
        config: The settings of the extraction, with the judge's server.
    """

    template: str
    sampling: SamplingConfig
    config: ExtractionSettings

    @property
    def name(self) -> str:
        """The model's name."""
        return self.sampling.model

    def fill(self, example: VotedExample) -> str:
        """Returns the text of the request for a row, which has a rationale.

        A row with a rationale also has a teacher label: `voting.vote_parsed` chooses
        the rationale among the samples with this label.
        """
        values = {
            "input": example.input.replace(SEGMENT_SEPARATOR, "\n"),
            "label": example.teacher_label or "",
            "rationale": example.rationale or "",
        }
        # One pass over the template, so that a text that contains "{label}" is
        # inserted unchanged.
        return _FIELD.sub(lambda match: values[match[1]], self.template)


def judge_of(config: ExtractionSettings) -> Judge | None:
    """Returns the judge of an extraction, or None without JUDGE.

    Raises:
        UserError: The prompt cannot be read, JUDGE_EXTRA_BODY sets a field that has a
            setting, or a batch would need a second server.
    """
    settings = config.judge
    if not settings.judge:
        return None
    if settings.judge_base_url and config.batch.batch:
        raise UserError(
            "JUDGE_BASE_URL is set, expected BATCH = False with it, because a batch is "
            "collected from the server of BASE_URL"
        )
    check_extra_body(
        "JUDGE_EXTRA_BODY", settings.judge_extra_body, config.sampling.max_tokens_name
    )
    endpoint = _endpoint(settings, config.endpoint)
    sampling = dataclasses.replace(
        config.sampling,
        model=settings.judge_model or config.sampling.model,
        structured=False,
        samples=1,
        temperature=settings.judge_temperature,
        top_p=None,
        max_tokens=settings.judge_max_tokens,
        extra_body=settings.judge_extra_body,
    )
    template = _read(settings.judge_prompt) if settings.judge_prompt else PROMPT
    return Judge(template, sampling, dataclasses.replace(config, endpoint=endpoint))


def _endpoint(settings: JudgeConfig, teacher: EndpointConfig) -> EndpointConfig:
    """Returns the judge's server. The teacher's key is not sent to another server."""
    if settings.judge_base_url is None:
        return teacher
    return dataclasses.replace(
        teacher,
        base_url=settings.judge_base_url,
        api_key_variable=settings.judge_api_key_variable,
    )


def _read(path: str) -> str:
    """Reads a prompt file."""
    try:
        text = pathlib.Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"JUDGE_PROMPT {path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"JUDGE_PROMPT {path}: not UTF-8 at byte {error.start}"
        ) from error
    found = set(_FIELD.findall(text))
    missing = [f"{{{name}}}" for name in ("label", "rationale") if name not in found]
    if missing:
        raise UserError(
            f"JUDGE_PROMPT {path}: {' and '.join(missing)} not found, expected a text "
            "with {input}, {label} and {rationale}"
        )
    return text.replace("\r\n", "\n").strip()


def plan_of(
    judge: Judge, plan: RequestPlan, examples: Iterable[VotedExample], store: Store
) -> RequestPlan:
    """Returns the plan that asks the judge about examples, which have a rationale.

    Args:
        judge: The judge.
        plan: The plan of the requests to the teacher.
        examples: The rows to judge.
        store: The stored replies, among them those with another JUDGE_MAX_TOKENS.
    """
    limits = {reply.max_tokens for reply in store.replies.values() if reply.max_tokens}
    question = Prompt("judge", dataset_spec.DEFAULT.name, (), "", "{input}", ())
    return RequestPlan(
        input_file=plan.input_file,
        rows=[Record(example.id, judge.fill(example)) for example in examples],
        prompt=question,
        reader=VerdictReader(),
        sampling=judge.sampling,
        budget=plan.budget,
        earlier_limits=tuple(limits - {judge.sampling.max_tokens}),
        is_judge=True,
    )


def merge(
    examples: Sequence[VotedExample],
    plan: RequestPlan,
    replies: Mapping[str, StoredReply],
) -> list[VotedExample]:
    """Adds the judge's verdicts to examples.

    A reply without a readable verdict, also one without text, is the verdict
    "unreadable". An example whose request failed has no verdict.

    Args:
        examples: All examples.
        plan: The plan of the requests to the judge, for some of the ids.
        replies: The stored replies, by key.
    """
    judged = {
        row.id: results.parse_reply(replies[key], plan.reader, row.input, False)
        for row in plan.inputs
        for key in row.keys
        if key in replies
    }
    return [
        dataclasses.replace(
            example,
            judge_verdict=_VERDICTS.get(parsed.label, "unreadable"),
            judge_reason=parsed.rationale or parsed.problem,
        )
        if (parsed := judged.get(example.id))
        else example
        for example in examples
    ]
